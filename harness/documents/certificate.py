"""`certificate.json`: an in-toto statement of what was shown about the outputs of one training, version 2.

Every object is closed: what is not named here is refused, so nothing can hide in a certificate. Keys are in
lowerCamelCase, as in-toto's own. Claims are made only where the verdict is CERTIFIED.

Source: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, StringConstraints, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel

from harness.documents import environment, manifest, preflight, verdict
from harness.documents.document import Document, Model

StatementType = Literal["https://in-toto.io/Statement/v1"]
PredicateType = Literal["urn:repro-harness:training-reproducibility:v2"]
STATEMENT_TYPE: StatementType = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: PredicateType = "urn:repro-harness:training-reproducibility:v2"
Result = Literal["PASSED", "FAILED", "INCONCLUSIVE", "VETOED"]
Claim = Literal[
    "BITWISE_EQUAL_RERUN",
    "BITWISE_EQUAL_RESUME",
    "IDENTICAL_IMAGE_REBUILD",
    "BITWISE_EQUAL_REPLAY",
    "BITWISE_EQUAL_RERUN_OF_PREFIX",
    "BITWISE_EQUAL_RESUME_OF_PREFIX",
    "BITWISE_EQUAL_REPLAY_OF_PREFIX",
]
RESULTS: Mapping[verdict.Word, Result] = {
    "CERTIFIED": "PASSED",
    "DIVERGED": "FAILED",
    "INCONCLUSIVE": "INCONCLUSIVE",
    "VETOED": "VETOED",
}
_NOTHING_CLAIMED: dict[str, JsonValue] = {"claims": {"maxItems": 0}}
MAX_INTEGER = (1 << 53) - 1  # RFC 8785 holds no larger one; it stands as text


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ImageId = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Commit = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]
Moment = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$")]
Name = Annotated[str, StringConstraints(min_length=1)]
Amount = Annotated[
    int,
    BeforeValidator(_number),
    Field(ge=0),
    WithJsonSchema({"type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+$"}),
]


class Closed(Model):
    """A part of a certificate: no other keys, in camel case; it can be made of any object with these attributes."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", from_attributes=True)


class Subject(Closed):
    """An output, or the commit that the training comes from."""

    name: Name
    digest: Annotated[dict[Literal["sha256", "contentSha256", "gitCommit"], Commit], Field(min_length=1)]


class FileDigest(Closed):
    """The sha256 of a file's bytes."""

    sha256: Hex


class EvidenceFile(Closed):
    """A file of evidence."""

    name: Name
    digest: FileDigest


class Compared(Closed):
    """How much was compared."""

    steps: Amount
    tensors: Amount
    bytes: Amount
    files: Amount


class ResumePoint(verdict.ResumePoint, Closed):
    """Where a resumed run began."""


class Check(Closed):
    """One question and its answer."""

    verdict: verdict.CheckWord
    required: bool
    how: str
    reason: str
    bound: str | None
    compared: Compared
    resumes: tuple[ResumePoint, ...] = ()
    image_ids: tuple[Name, ...] = ()


class Checks(Closed):
    """Every check."""

    rerun: Check
    resume: Check
    rebuild: Check
    replay: Check | None = None

    def items(self) -> tuple[tuple[str, Check], ...]:
        """Those that there are."""
        named = {"rerun": self.rerun, "resume": self.resume, "rebuild": self.rebuild, "replay": self.replay}
        return tuple((name, check) for name, check in named.items() if check is not None)


class UnderSignal(verdict.UnderSignal, Closed):
    """What a training did that was sent a signal which it may answer."""


class Interruption(Closed):
    """One planned kill, and what came of it."""

    kind: Name
    step: int
    micro_batch: int | None
    byte: Amount | None
    by: Literal["self", "outside"]
    signal: str | None
    exit_code: int | None
    landed: bool
    resumed_after_step: int | None
    under_signal: UnderSignal | None = Field(default=None, exclude_if=lambda answer: answer is None)


class SweptPoint(verdict.SweptPoint, Closed):
    """A point of a sweep that did not hold."""


class Sweep(verdict.Sweep, Closed):
    """Kills at points drawn at random, each in a training of its own."""

    not_held: tuple[SweptPoint, ...]


class Control(verdict.ControlResult, Closed):
    """A negative control, and whether it was detected."""


class Allowed(Closed):
    """A finding of the review that a person allowed, with the reason."""

    rule: Name
    name: Name
    severity: Literal["veto", "warning", "note"]
    items: tuple[str, ...]
    path: str | None
    line: int | None
    message: str
    reason: Name


class UnreadFile(verdict.UnreadFile, Closed):
    """A file that the review could not read."""


class Review(Closed):
    """The state of every item of the checklist, and what was allowed."""

    checklist: dict[str, verdict.ItemState]
    allowed: tuple[Allowed, ...]
    num_findings: int
    unread: tuple[UnreadFile, ...]


class FirstDivergence(verdict.FirstDivergence, Closed):
    """The first difference in the order of causes."""


class Cause(verdict.Cause, Closed):
    """Why it differs."""


class Image(Closed):
    """The image, and the sha256 of every lock by its file name."""

    name: Name | None
    id: ImageId | None
    locks: dict[str, ImageId]


class Gpu(manifest.GpuFacts, Closed):
    """A GPU of the machine."""


class Host(manifest.HostFacts, Closed):
    """The machine."""

    memory_bytes: Amount | None = None
    gpus: tuple[Gpu, ...] = ()


class GpuAccess(manifest.GpuAccess, Closed):
    """The GPUs that every process was given, and how."""

    chosen_by: str | None = None
    route: str | None = None
    toolkit: str | None = None


class MissingPackage(environment.MissingPackage, Closed):
    """A package that is locked and not installed."""


class AddedPackage(environment.AddedPackage, Closed):
    """A package that is installed and not locked."""


class ChangedPackage(environment.ChangedPackage, Closed):
    """A package that is installed in another version than the locked one."""


class PythonDifference(environment.PythonDifference, Closed):
    """The Python that is locked, and the one that is there."""


class EnvironmentDifference(environment.EnvironmentDifference, Closed):
    """How an environment differs from a lock."""

    python: PythonDifference | None = None
    missing: tuple[MissingPackage, ...] = ()
    added: tuple[AddedPackage, ...] = ()
    changed: tuple[ChangedPackage, ...] = ()


class Interpreter(environment.EnvironmentFacts, Closed):
    """Without a container: the Python, and how it differs from the image's lock."""

    difference: EnvironmentDifference


class Environment(Closed):
    """The machine, what the first process said of itself (in the recorder's words), and the GPUs."""

    host: Host
    process: dict[str, JsonValue]
    gpu: GpuAccess
    interpreter: Interpreter | None = None


class ReplayedRecord(verdict.ReplayedRecord, Closed):
    """The archived run that a replay was compared with."""


class EnvironmentChange(verdict.EnvironmentChange, Closed):
    """One value of the environment then and now."""


class ImageIds(verdict.ImageIds, Closed):
    """The image then and now."""


class PreflightRow(Closed):
    """One thing that a replay needs, and whether it can be had."""

    kind: preflight.Kind
    name: Name
    state: preflight.State
    detail: str
    remedy: str


class Replay(Closed):
    """What was replayed, on which hardware, and what is not as it was."""

    record: ReplayedRecord
    against: Commit | None
    tier: Literal["same machine", "same model", "same architecture", "other"]
    tier_detail: tuple[str, ...]
    environment: tuple[EnvironmentChange, ...]
    image: ImageIds
    code_changes: tuple[str, ...]
    preflight: tuple[PreflightRow, ...]


def _rules() -> list[JsonValue]:
    """For the schema: each verdict has its result, only CERTIFIED claims anything, and a replay says of what."""
    rules: list[JsonValue] = [
        {
            "if": {"properties": {"verdict": {"const": word}}},
            "then": {"properties": {"result": {"const": result}, **({} if word == "CERTIFIED" else _NOTHING_CLAIMED)}},
        }
        for word, result in RESULTS.items()
    ]
    replayed: JsonValue = {"properties": {"replay": {"type": "object"}}}
    return [*rules, {"if": {"properties": {"checks": replayed}}, "then": replayed, "else": {"not": replayed}}]


class Prefix(Closed):
    """Which part of the training was run: the first `steps` of `of`."""

    steps: int
    of: int


class Predicate(Closed):
    """What the certificate says: the verdict with what it stands on, and the digest of every file of evidence."""

    model_config = ConfigDict(json_schema_extra={"allOf": _rules()})

    result: Result
    verdict: verdict.Word
    claims: tuple[Claim, ...]
    summary: str
    experiment: Name
    scope: Prefix | None
    overrides: tuple[str, ...] = Field(default=(), exclude_if=lambda overrides: not overrides)
    run_id: Name
    runner: Literal["docker", "host"]
    dirty: bool
    checks: Checks
    interruptions: tuple[Interruption, ...]
    sweep: Sweep | None = Field(default=None, exclude_if=lambda sweep: sweep is None)
    compared: Compared
    controls: tuple[Control, ...]
    review: Review | None
    first_divergence: FirstDivergence | None
    cause: Cause | None
    image: Image
    environment: Environment
    evidence: Annotated[tuple[EvidenceFile, ...], Field(min_length=1)]
    problems: tuple[str, ...]
    not_checked: tuple[str, ...]
    finished_on: Moment
    replay: Replay | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Predicate:
        if self.result != RESULTS[self.verdict]:
            raise ValueError(f"the result of {self.verdict} is {RESULTS[self.verdict]}")
        if self.claims and self.verdict != "CERTIFIED":
            raise ValueError("only CERTIFIED claims anything")
        if (self.replay is None) != (self.checks.replay is None):
            raise ValueError("`replay` stands beside the check of that name, and nowhere else")
        return self


class Certificate(Document):
    """The whole statement."""

    model_config = ConfigDict(extra="forbid", title="Training reproducibility, version 2")

    type_: StatementType = Field(default=STATEMENT_TYPE, alias="_type")
    subject: Annotated[tuple[Subject, ...], Field(min_length=1)]
    predicate_type: PredicateType = Field(default=PREDICATE_TYPE, alias="predicateType")
    predicate: Predicate
