"""The documents of a finished certify: its manifest and its verdict, read from bytes that nobody has to trust.

Documents of other versions of this program may have keys that are not known here; they are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue, ValidationError

from harness.documents.digest import Digest, canonical_json, sha256
from harness.documents.document import REMEDY
from harness.documents.experiment import Experiment
from harness.documents.manifest import Manifest
from harness.documents.run import RunRecord
from harness.documents.scope import Prefix, prefix_of, scope_of, shortened
from harness.documents.verdict import ReplayedRecord, Verdict
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
        experiment: as it was declared, with every default.
        scope: the prefix that was run; None for the whole training.
        runs: what the host saw of each trajectory's runs, in the order in which they were planned.
    """

    manifest: Manifest
    verdict: Verdict
    experiment: Experiment
    scope: Prefix | None
    runs: Mapping[str, tuple[RunRecord, ...]]

    @property
    def trained(self) -> Experiment:
        """The experiment as far as it was run."""
        return shortened(self.experiment, self.scope)

    @property
    def code(self) -> Digest:
        """The digest of the exported code."""
        return Digest.parse(self.manifest.code.sha256)

    @property
    def rebuild(self) -> Rebuild | None:
        """What the verdict says about builds of the image: nobody can recompute it."""
        check = self.verdict.checks.rebuild
        return None if check.verdict == "NOT_CHECKED" else Rebuild(image_ids=check.image_ids, source=check.how)


def read_record(manifest: bytes, verdict: bytes) -> Record:
    """The two documents as values.

    Raises:
        TamperedError: one is malformed, or they do not speak of the same certify.
        UsageError: a newer version of this program wrote them in another format.
    """
    return record_of(Manifest.load(manifest, "manifest.json"), Verdict.load(verdict, "verdict.json"))


def record_of(manifest: Manifest, verdict: Verdict) -> Record:
    """The documents with what follows from both.

    Raises:
        TamperedError: they do not speak of the same certify.
    """
    pairs = {
        "experiment": (manifest.name, verdict.experiment),
        "run_id": (manifest.volatile.run_id, verdict.run_id),
        "commit": (manifest.commit, verdict.commit),
        "dirty": (manifest.dirty, verdict.dirty),
        "runner": (manifest.runner, verdict.runner),
        "scope": (manifest.scope, verdict.scope),
        "overrides": (manifest.overrides, verdict.overrides),
        "interpreter": (manifest.environment.interpreter, verdict.environment),
    }
    for key, (left, right) in pairs.items():
        if left != right:
            raise _tampered(f"manifest.json and verdict.json disagree about `{key}`")
    if manifest.runs and manifest.environment.gpu.uuids != verdict.gpus:
        raise _tampered("manifest.json and verdict.json disagree about the GPUs")
    rebuilt = verdict.checks.rebuild.image_ids
    if rebuilt and manifest.image.id not in rebuilt:
        raise _tampered("verdict.json: the builds it names are of another image than that of manifest.json")
    for name, digest in (("code.sha256", manifest.code.sha256), ("harness.recorder", manifest.harness.recorder)):
        _check_digest(digest, name)
    if manifest.harness.sources:
        _check_digest(manifest.harness.sources, "harness.sources")
    experiment = _experiment(manifest)
    return Record(
        manifest=manifest,
        verdict=verdict,
        experiment=experiment,
        scope=_scope(experiment, verdict),
        runs=_runs(manifest),
    )


def recorded_training(
    record: Record, straight: TrajectoryEvidence, *, source: str, key: str | None
) -> RecordedTraining:
    """What a replay needs of a record.

    Args:
        record: its documents, read and found to speak of the same certify.
        straight: what it has of the straight trajectory.
        source: where it lies, for people.
        key: who signed it: a trusted name, or the key's id; None for nobody.

    Raises:
        EvidenceError: it was made of uncommitted changes, is itself a replay, or has no ledger.
    """
    manifest, verdict = record.manifest, record.verdict
    told = ReplayedRecord(
        run_id=verdict.run_id,
        experiment=manifest.name,
        commit=manifest.commit,
        verdict=verdict.verdict,
        finished=manifest.volatile.finished,
        source=source,
        key=key,
    )
    training = RecordedTraining(record=told, manifest=manifest, straight=straight, scope=record.scope)
    training.check_replayable(verdict.kind)
    return training


def experiment_digest(document: Mapping[str, JsonValue]) -> Digest:
    """The digest of a declared experiment, from its document; it does not depend on this version's defaults."""
    return sha256(canonical_json({key: value for key, value in document.items() if key not in _NOT_DECLARED}))


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


def _runs(manifest: Manifest) -> dict[str, tuple[RunRecord, ...]]:
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


def _check_digest(text: str, where: str) -> None:
    try:
        Digest.parse(text)
    except ValueError as error:
        raise _tampered(f"manifest.json: {where} is {error}") from error


def _tampered(problem: str) -> TamperedError:
    return TamperedError(problem, REMEDY)
