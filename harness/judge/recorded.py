"""The record of a finished certify: its manifest and its verdict, read from bytes that nobody has to trust.

Documents of other versions of this program may have keys that are not known here; they are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from harness.documents.digest import Digest, canonical_json, sha256
from harness.documents.document import REMEDY, read_json
from harness.documents.environment import EnvironmentFacts
from harness.documents.experiment import Experiment
from harness.documents.manifest import Manifest
from harness.documents.run import RunRecord
from harness.documents.scope import Prefix, prefix_of, scope_of, shortened
from harness.documents.verdict import ControlResult, ReplayedRecord, StoppedAt, Verdict, upgraded
from harness.errors import TamperedError, UsageError
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.verdict_inputs import Rebuild, RecordedTraining

_TRAJECTORY = re.compile(r"[a-z][a-z0-9-]{0,39}")
_MAX_RUNS = 1000
_NOT_DECLARED = ("description", "probe")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Manifest and verdict of one finished certify, read and found to speak of the same one.

    Attributes:
        kind: `certify` or `replay`.
        sources: the digest of the harness that judged, `sha256:<hex>`; empty for one that did not say.
        code: the digest of the exported code.
        recorder: the digest of the recorder.
        image_id: of the image that the runs had; None for none.
        locks: `sha256:<hex>` of the locks beside the image, by file name.
        experiment: as it was declared, with every default.
        records: what the host saw of each trajectory's runs, in the order in which they were planned.
        rebuild: what the verdict says about builds of the image: testimony.
        controls: what the verdict says about controls: testimony, unless they can be made again.
    """

    manifest: Manifest
    kind: str
    name: str
    run_id: str
    commit: str
    dirty: bool
    runner: str
    version: str
    sources: str
    code: Digest
    recorder: str
    image_id: str | None
    locks: Mapping[str, str]
    experiment: Experiment
    scope: Prefix | None
    stopped_at: StoppedAt | None
    gpus: tuple[str, ...]
    environment: EnvironmentFacts | None
    records: Mapping[str, tuple[RunRecord, ...]]
    rebuild: Rebuild | None
    controls: tuple[ControlResult, ...]

    @property
    def trained(self) -> Experiment:
        """The experiment as far as it was run."""
        return shortened(self.experiment, self.scope)


def read_verdict(data: bytes, name: str) -> dict[str, Any]:
    """`verdict.json` of any schema up to this one, in the words of this one.

    Raises:
        TamperedError: it is no JSON object, or too large or too deep to be one of ours.
        UsageError: it is of a newer schema.
    """
    return upgraded(read_json(data, name), name)


def read_record(manifest: Mapping[str, Any], verdict: Mapping[str, Any]) -> Record:
    """The two documents as values.

    Raises:
        TamperedError: one is malformed, or they do not speak of the same certify.
        UsageError: a newer version of this program wrote them in another format.
    """
    one, two = _manifest(manifest), Verdict.from_json(dict(verdict), "verdict.json")
    pairs = {
        "experiment": (one.name, two.experiment),
        "run_id": (one.volatile.run_id, two.run_id),
        "commit": (one.commit, two.commit),
        "dirty": (one.dirty, two.dirty),
        "runner": (one.runner, two.runner),
        "scope": (one.scope, two.scope),
        "interpreter": (one.environment.interpreter, two.environment),
    }
    for key, (left, right) in pairs.items():
        if left != right:
            raise _tampered(f"manifest.json and verdict.json disagree about `{key}`")
    if one.runs and one.environment.gpu.uuids != two.gpus:
        raise _tampered("manifest.json and verdict.json disagree about the GPUs")
    experiment, rebuild = _experiment(one), two.checks.rebuild
    if rebuild.image_ids and one.image.id not in rebuild.image_ids:
        raise _tampered("verdict.json: the builds it names are of another image than that of manifest.json")
    was_built = rebuild.verdict != "NOT_CHECKED"
    return Record(
        manifest=one,
        kind=two.kind,
        name=one.name,
        run_id=two.run_id,
        commit=one.commit,
        dirty=one.dirty,
        runner=one.runner,
        version=one.harness.version,
        sources=one.harness.sources or "",
        code=_digest(one.code.sha256, "code.sha256"),
        recorder=one.harness.recorder,
        image_id=one.image.id,
        locks=one.image.locks,
        experiment=experiment,
        scope=_scope(experiment, two),
        stopped_at=two.stopped_at,
        gpus=two.gpus,
        environment=two.environment,
        records=_records(one),
        rebuild=Rebuild(image_ids=rebuild.image_ids, source=rebuild.how) if was_built else None,
        controls=two.control.controls,
    )


def recorded_training(
    record: Record, straight: TrajectoryEvidence, *, word: str, source: str, key: str | None
) -> RecordedTraining:
    """What a replay needs of a record.

    Args:
        record: its documents, read and found to speak of the same certify.
        straight: what it has of the straight trajectory.
        word: of its verdict.
        source: where it lies, for people.
        key: who signed it: a trusted name, or the key's id; None for nobody.

    Raises:
        EvidenceError: it was made of uncommitted changes, is itself a replay, or has no ledger.
    """
    told = ReplayedRecord(
        run_id=record.run_id,
        experiment=record.name,
        commit=record.commit,
        verdict=word,
        finished=record.manifest.volatile.finished,
        source=source,
        key=key,
    )
    training = RecordedTraining(record=told, manifest=record.manifest, straight=straight, scope=record.scope)
    training.check_replayable(record.kind)
    return training


def experiment_digest(document: Mapping[str, Any]) -> Digest:
    """The digest of a declared experiment, from its document; it does not depend on this version's defaults."""
    return sha256(canonical_json({key: value for key, value in document.items() if key not in _NOT_DECLARED}))


def _manifest(document: Mapping[str, Any]) -> Manifest:
    schema = document.get("schema")
    if type(schema) is int and schema != 1:
        problem = f"manifest.json has format {schema}, this version reads 1"
        raise UsageError(problem, "verify it with the version of the harness that wrote it, or a newer one")
    return Manifest.from_json(dict(document), "manifest.json")


def _experiment(manifest: Manifest) -> Experiment:
    known = {field.alias or name for name, field in Experiment.model_fields.items()}
    try:
        digest = experiment_digest(manifest.experiment)
        experiment = Experiment.model_validate({k: v for k, v in manifest.experiment.items() if k in known})
    except (ValidationError, ValueError) as error:
        raise _tampered(f"manifest.json: the experiment is malformed: {str(error)[:300]}") from error
    if str(digest) != manifest.experiment_digest:
        raise _tampered("manifest.json: experiment_digest is not that of the experiment")
    return experiment


def _scope(experiment: Experiment, verdict: Verdict) -> Prefix | None:
    if verdict.scope is None:
        return None
    try:
        # A replay is one straight training, which nothing interrupts.
        scope = (prefix_of if verdict.kind == "replay" else scope_of)(experiment, verdict.scope.steps)
    except UsageError as error:
        raise _tampered(f"verdict.json: there is no such prefix: {error.problem}") from error
    if scope.of != verdict.scope.of:
        raise _tampered(f"verdict.json: scope.of is {verdict.scope.of}, the experiment has {scope.of} steps")
    return scope


def _records(manifest: Manifest) -> dict[str, tuple[RunRecord, ...]]:
    """Every run; those of a trajectory are numbered from 1 and stand together."""
    if len(manifest.runs) > _MAX_RUNS or len(manifest.runs) != len(manifest.volatile.runs):
        raise _tampered("manifest.json: `runs` and `volatile.runs` are not of the same runs")
    found: dict[str, list[RunRecord]] = {}
    for run, more in zip(manifest.runs, manifest.volatile.runs, strict=True):
        name, runs = run.trajectory, found.setdefault(run.trajectory, [])
        is_next = run.number == len(runs) + 1 and next(reversed(found)) == name
        if not _TRAJECTORY.fullmatch(name) or not is_next or more.run != f"{name}/{run.number}":
            raise _tampered(f"manifest.json: run {name[:40]}/{run.number} is out of place")
        runs.append(RunRecord(**dict(run), volatile=more.model_extra or {}, seconds=more.seconds))
    if found.keys() != manifest.trajectories.keys():
        raise _tampered("manifest.json: `runs` and `trajectories` do not name the same trajectories")
    return {name: tuple(runs) for name, runs in found.items()}


def _digest(text: str, where: str) -> Digest:
    try:
        return Digest.parse(text)
    except ValueError as error:
        raise _tampered(f"manifest.json: {where} is {error}") from error


def _tampered(problem: str) -> TamperedError:
    return TamperedError(problem, REMEDY)
