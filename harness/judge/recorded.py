"""The record of a finished certify: its manifest and its verdict, read from bytes that nobody has to trust.

Documents of other versions of this program may have keys that are not known here; they are left alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.documents import verdict as verdict_document
from harness.documents.digest import Digest, canonical_json, sha256
from harness.documents.environment import EnvironmentFacts
from harness.documents.experiment import Experiment
from harness.documents.run import Fault, RunRecord
from harness.documents.scope import Prefix, prefix_of, scope_of, shortened
from harness.documents.verdict import ControlResult, upgraded
from harness.errors import TamperedError, UsageError
from harness.judge.first_difference import FirstDifference
from harness.judge.verdict_inputs import Rebuild

SCHEMA = 1
MAX_DOCUMENT_BYTES = 64 << 20
_MAX_DEPTH = 64  # ours have ten; Python gives up comparing and writing at some hundreds
REMEDY = "it is not what a certify wrote: get the archive again from where it was published"
_TRAJECTORY = re.compile(r"[a-z][a-z0-9-]{0,39}")
_MAX_RUNS = 1000
_NOT_DECLARED = ("description", "probe")
T = TypeVar("T", bound=BaseModel)


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Fault(_Block):
    kind: str
    step: int
    micro_batch: int | None = None
    byte: int | None = None
    by: str = "self"


class _Run(_Block):
    trajectory: str
    number: int
    mode: str
    argv: list[str]
    faults: list[_Fault]
    exit_code: int
    oom_killed: bool
    killed_by: str | None
    error: str | None
    settings: dict[str, Any]


class _Scope(_Block):
    steps: int
    of: int


class _Code(_Block):
    sha256: str


class _Harness(_Block):
    version: str
    recorder: str
    sources: str | None = None


class _Image(_Block):
    name: str | None = None
    id: str | None = None
    locks: dict[str, str] = Field(default_factory=dict)


class _Volatile(_Block):
    run_id: str
    runs: list[dict[str, Any]]


class _Manifest(_Block):
    schema_: int = Field(alias="schema")
    harness: _Harness
    name: str
    experiment: dict[str, Any]
    experiment_digest: str
    scope: _Scope | None
    runner: str
    commit: str
    dirty: bool
    code: _Code
    image: _Image
    runs: list[_Run]
    trajectories: dict[str, dict[str, Any]]
    environment: dict[str, Any]
    volatile: _Volatile


class _FirstDifference(_Block):
    trajectory: str
    run: int
    step: int


class _Control(_Block):
    failed_as_it_must: bool
    controls: list[ControlResult]


class _Rebuild(_Block):
    verdict: str
    how: str
    image_ids: list[str]


class _Checks(_Block):
    rebuild: _Rebuild


class _Verdict(_Block):
    schema_: int = Field(alias="schema")
    kind: str = "certify"
    experiment: str
    run_id: str
    commit: str
    dirty: bool
    runner: str
    gpus: list[str]
    environment: dict[str, Any] | None
    scope: _Scope | None
    stopped_at: _FirstDifference | None
    verdict: Literal["CERTIFIED", "DIVERGED", "INCONCLUSIVE", "VETOED"]
    exit_code: int
    checks: _Checks
    control: _Control


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
    stopped_at: FirstDifference | None
    gpus: tuple[str, ...]
    environment: EnvironmentFacts | None
    records: Mapping[str, tuple[RunRecord, ...]]
    rebuild: Rebuild | None
    controls: tuple[ControlResult, ...]

    @property
    def trained(self) -> Experiment:
        """The experiment as far as it was run."""
        return shortened(self.experiment, self.scope)


def read_document(data: bytes, name: str) -> dict[str, Any]:
    """A JSON object; no key of it comes twice.

    Raises:
        TamperedError: it is none, or too large or too deep to be one of ours.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key comes twice")
        return found

    if len(data) > MAX_DOCUMENT_BYTES:
        raise TamperedError(f"{name} has {len(data)} bytes, at most {MAX_DOCUMENT_BYTES} are read", REMEDY)
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise TamperedError(f"{name} is no JSON document: {str(error)[:120]}", REMEDY) from error
    if not isinstance(value, dict):
        raise TamperedError(f"{name} is no JSON object", REMEDY)
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH):
        level = [one for outer in level if isinstance(outer, dict | list) for one in _inside(outer)]
    if level:
        raise TamperedError(f"{name} is nested deeper than {_MAX_DEPTH} levels", REMEDY)
    return value


def read_verdict(data: bytes, name: str) -> dict[str, Any]:
    """`verdict.json` of any schema up to this one, in the words of this one.

    Raises:
        TamperedError: it is no JSON object, or too large or too deep to be one of ours.
        UsageError: it is of a newer schema.
    """
    return upgraded(read_document(data, name), name)


def _inside(outer: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return outer.values() if isinstance(outer, dict) else outer


def read_record(manifest: Mapping[str, Any], verdict: Mapping[str, Any]) -> Record:
    """The two documents as values.

    Raises:
        TamperedError: one is malformed, or they do not speak of the same certify.
        UsageError: a newer version of this program wrote them in another format.
    """
    one = _parsed(_Manifest, manifest, "manifest.json")
    two = _parsed(_Verdict, verdict, "verdict.json", schema=verdict_document.SCHEMA)
    pairs = {
        "experiment": (one.name, two.experiment),
        "run_id": (one.volatile.run_id, two.run_id),
        "commit": (one.commit, two.commit),
        "dirty": (one.dirty, two.dirty),
        "runner": (one.runner, two.runner),
        "scope": (one.scope, two.scope),
    }
    for key, (left, right) in pairs.items():
        if left != right:
            raise _tampered(f"manifest.json and verdict.json disagree about `{key}`")
    experiment = _experiment(one)
    scope, rebuild = _scope(experiment, two), two.checks.rebuild
    was_built = rebuild.verdict != "NOT_CHECKED"
    if rebuild.image_ids and one.image.id not in rebuild.image_ids:
        raise _tampered("verdict.json: the builds it names are of another image than that of manifest.json")
    _check_environment(one, two)
    return Record(
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
        locks=dict(one.image.locks),
        experiment=experiment,
        scope=scope,
        stopped_at=None if two.stopped_at is None else FirstDifference(**two.stopped_at.model_dump()),
        gpus=tuple(two.gpus),
        environment=_environment(two.environment),
        records=_records(one),
        rebuild=Rebuild(image_ids=tuple(rebuild.image_ids), source=rebuild.how) if was_built else None,
        controls=tuple(two.control.controls),
    )


def experiment_digest(document: Mapping[str, Any]) -> Digest:
    """The digest of a declared experiment, from its document; it does not depend on this version's defaults."""
    return sha256(canonical_json({key: value for key, value in document.items() if key not in _NOT_DECLARED}))


def _parsed(model: type[T], document: Mapping[str, Any], name: str, *, schema: int = SCHEMA) -> T:
    if document.get("schema") != schema and type(document.get("schema")) is int:
        problem = f"{name} has format {document['schema']}, this version reads {schema}"
        raise UsageError(problem, "verify it with the version of the harness that wrote it, or a newer one")
    try:
        return model.model_validate(dict(document))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        raise _tampered(f"{name}: {path[:200]}: {str(first['msg'])[:200]}") from error


def _experiment(manifest: _Manifest) -> Experiment:
    known = {field.alias or name for name, field in Experiment.model_fields.items()}
    try:
        digest = experiment_digest(manifest.experiment)
        experiment = Experiment.model_validate({k: v for k, v in manifest.experiment.items() if k in known})
    except (ValidationError, ValueError) as error:
        raise _tampered(f"manifest.json: the experiment is malformed: {str(error)[:300]}") from error
    if str(digest) != manifest.experiment_digest:
        raise _tampered("manifest.json: experiment_digest is not that of the experiment")
    return experiment


def _scope(experiment: Experiment, verdict: _Verdict) -> Prefix | None:
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


def _environment(document: dict[str, Any] | None) -> EnvironmentFacts | None:
    if document is None:
        return None
    try:
        return EnvironmentFacts.model_validate_json(json.dumps(document))
    except ValidationError as error:
        raise _tampered(f"verdict.json: environment: {error.errors(include_url=False)[0]['msg'][:200]}") from error


def _check_environment(manifest: _Manifest, verdict: _Verdict) -> None:
    if manifest.environment.get("interpreter") != verdict.environment:
        raise _tampered("manifest.json and verdict.json disagree about the interpreter")
    gpu = manifest.environment.get("gpu")
    if manifest.runs and list((gpu or {}).get("uuids", []) if isinstance(gpu, dict) else []) != verdict.gpus:
        raise _tampered("manifest.json and verdict.json disagree about the GPUs")


def _records(manifest: _Manifest) -> dict[str, tuple[RunRecord, ...]]:
    """Every run; those of a trajectory are numbered from 1 and stand together."""
    if len(manifest.runs) > _MAX_RUNS or len(manifest.runs) != len(manifest.volatile.runs):
        raise _tampered("manifest.json: `runs` and `volatile.runs` are not of the same runs")
    found: dict[str, list[RunRecord]] = {}
    for run, more in zip(manifest.runs, manifest.volatile.runs, strict=True):
        name, runs = run.trajectory, found.setdefault(run.trajectory, [])
        is_next = run.number == len(runs) + 1 and next(reversed(found)) == name
        if not _TRAJECTORY.fullmatch(name) or not is_next or more.get("run") != f"{name}/{run.number}":
            raise _tampered(f"manifest.json: run {name[:40]}/{run.number} is out of place")
        seconds = more.get("seconds")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise _tampered(f"manifest.json: volatile.runs: {name}/{run.number} has no seconds")
        values = {key: value for key, value in run if key not in ("faults", "argv")}
        runs.append(
            RunRecord(
                **values,
                argv=tuple(run.argv),
                faults=tuple(Fault(**fault.model_dump()) for fault in run.faults),
                volatile={key: value for key, value in more.items() if key not in ("run", "seconds")},
                seconds=seconds,
            )
        )
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
