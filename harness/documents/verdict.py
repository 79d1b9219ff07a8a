"""`verdict.json`: what was asked, what was found, how much was compared, and what was not checked.

Schema 2. Documents of schema 1, which said *oracle* where this one says *check*, are read through `upgraded`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, JsonValue

from harness.documents.divergence import Divergence
from harness.documents.document import Document, Model, check_schema, read_json
from harness.documents.environment import EnvironmentFacts
from harness.documents.preflight import PreflightRow
from harness.documents.scope import Prefix

SCHEMA = 2
Word = Literal["CERTIFIED", "DIVERGED", "INCONCLUSIVE", "VETOED", "TAMPERED"]
CheckWord = Literal["CERTIFIED", "DIVERGED", "INCONCLUSIVE", "NOT_CHECKED"]
CheckName = Literal["rerun", "resume", "rebuild", "replay"]
ControlName = Literal["tensor_bit", "ledger_digit", "weights_moved", "flip_param", "flip_optim"]
ItemState = Literal["holds", "vetoed", "warning", "does not apply", "could not tell"]
EXIT_CODES: Mapping[str, int] = {"CERTIFIED": 0, "DIVERGED": 1, "INCONCLUSIVE": 3, "VETOED": 4, "TAMPERED": 5}


class Compared(Model):
    """How much was compared: step records, tensors with their bytes, files."""

    steps: int = 0
    tensors: int = 0
    bytes: int = 0
    files: int = 0

    def __add__(self, other: Compared) -> Compared:
        return Compared(
            steps=self.steps + other.steps,
            tensors=self.tensors + other.tensors,
            bytes=self.bytes + other.bytes,
            files=self.files + other.files,
        )


class ResumePoint(Model):
    """Where a resumed run began; `checkpoint_step` is where the host found the same state, None if nowhere."""

    run: int
    started_after_step: int
    checkpoint_step: int | None
    step_source: str


class Check(Model):
    """One question and its answer; `how` says what was compared, `reason` why it is not certified."""

    verdict: CheckWord
    required: bool
    how: str = ""
    reason: str = ""
    compared: Compared = Compared()
    bound: str | None = None
    resumes: tuple[ResumePoint, ...] = ()
    image_ids: tuple[str, ...] = ()


class Checks(Model):
    """Every check; `replay` stands in the verdict of a replay only."""

    rerun: Check
    resume: Check
    rebuild: Check
    replay: Check | None = Field(default=None, exclude_if=lambda check: check is None)

    def items(self) -> tuple[tuple[CheckName, Check], ...]:
        """Those that there are, in the order in which people read them."""
        named: tuple[tuple[CheckName, Check], ...] = (
            ("rerun", self.rerun),
            ("resume", self.resume),
            ("rebuild", self.rebuild),
        )
        return named if self.replay is None else (("replay", self.replay), named[2], named[0], named[1])


TRAINING_CHECKS: tuple[CheckName, ...] = ("rerun", "resume", "replay")
NOTHING_COMPARED = "no training was compared with another: neither rerun nor resume has a step that was compared"


def has_compared_steps(checks: Mapping[str, tuple[str, int]]) -> bool:
    """Whether a check of trainings holds and compared a step: without one nothing is certified.

    Args:
        checks: of each its word, and how many steps it compared.
    """
    return any(checks.get(name, ("", 0))[0] == "CERTIFIED" and checks[name][1] > 0 for name in TRAINING_CHECKS)


SignalEnd = Literal["by itself", "by the signal", "by SIGKILL after the time of grace"]


class UnderSignal(Model):
    """What a training did that was sent a signal which it may answer.

    Attributes:
        saved: the file that it wrote to its end after the signal and the resumed run read, else the last one it wrote.
        was_resumed_from: whether the resumed run read what was saved then; None where nothing was, or nobody saw.
    """

    grace_s: int
    ended: SignalEnd
    saved: str | None
    saved_after_step: int | None
    was_resumed_from: bool | None


class Interruption(Model):
    """One planned kill, and what came of it."""

    kind: str
    step: int
    micro_batch: int | None = None
    byte: int | None = None
    by: str
    rank: int | None = Field(default=None, exclude_if=lambda rank: rank is None)
    run: int
    signal: str | None
    exit_code: int | None
    oom_killed: bool
    landed: bool
    resumed_after_step: int | None
    under_signal: UnderSignal | None = Field(default=None, exclude_if=lambda answer: answer is None)


class SweptPoint(Model):
    """A point of a sweep that did not hold; `stream` and `first_step` say where the training differed first."""

    trajectory: str
    kind: str
    step: int
    micro_batch: int | None
    write: int | None
    verdict: CheckWord
    reason: str
    resumed_after_step: int | None
    first_step: int | None
    stream: str | None
    cause: str | None


class Sweep(Model):
    """Kills at points drawn at random, each in a training of its own.

    Attributes:
        num_asked: how many points were asked for.
        num_points: how many were drawn: all that there are, where these are fewer.
        num_possible: the micro-batches and the writes of checkpoints that they were drawn from.
        num_held: of how many the training, resumed or begun again, equals the straight one.
        num_began_again: how many of those had no checkpoint yet and rightly began again.
        bound: what follows with 95 % confidence; None unless every point held.
        not_held: the others.
    """

    num_asked: int
    num_points: int
    num_possible: int
    num_held: int
    num_began_again: int
    bound: str | None
    not_held: tuple[SweptPoint, ...]


class FirstDivergence(Model):
    """The first difference in the order of causes: data, rng, lr, loss, grad, optim, param."""

    check: CheckName
    trajectory: str
    run: int
    step: int
    micro_batch: int | None
    stream: str
    tensor: str | None
    operator: str | None = None
    rank: int | None = Field(default=None, exclude_if=lambda rank: rank is None)
    left: str
    right: str


class StreamDifference(Model):
    """Where a stream first differs, and in how many steps."""

    stream: str
    first_step: int
    num_steps: int


class Cause(Model):
    """Why it differs, as far as it was measured; of class `unknown`, the candidates that remain, likely ones first.

    `patch` is the repair in a few lines where it is known, as a unified diff whose places are words.
    """

    kind: str = Field(validation_alias="class", serialization_alias="class")
    title: str
    evidence: tuple[str, ...]
    ruled_out: tuple[str, ...]
    fix: str
    candidates: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    patch: str = Field(default="", exclude_if=lambda text: not text)


class ControlResult(Model):
    """A planted difference, and whether it was detected; not `made` where a training has nothing to plant it in."""

    name: ControlName
    detected: bool
    detail: str
    made: bool = Field(default=True, exclude_if=bool)


class Control(Model):
    """The negative controls; `failed_as_it_must` says that each that is needed was made and detected."""

    failed_as_it_must: bool
    controls: tuple[ControlResult, ...]


class Restored(Model):
    """What a resumed run held before its first batch, against the last earlier record of that state.

    `different` names `<stream>.<tensor>`. `file` is the checkpoint that was read, `num_in_file` how many of the tensors
    are in it: None where that cannot be told, for instance because the file was written again later.
    """

    run: int
    after_step: int
    num_tensors: int
    num_equal: int
    different: tuple[str, ...]
    file: str | None
    num_in_file: int | None

    @property
    def streams(self) -> frozenset[str]:
        """The streams in which something came back different, as far as they are named."""
        return frozenset(re.split(r"[. ]", name, maxsplit=1)[0] for name in self.different)


class Testimony(Model):
    """How many of the tensors on disk the ledger saw; `missing` names the others.

    Of those, `in_checkpoints` are in a checkpoint of their own training, and `derived` in files that the experiment
    declares as derived from the weights.
    """

    tensors_on_disk: int
    found_in_ledger: int
    missing: tuple[str, ...]
    in_checkpoints: int = 0
    derived: int = 0


class File(Model):
    """One declared file on both sides; `equal` is None where it could not be compared.

    `same_bytes` is None where an earlier version did not say; files of equal content may have other bytes.
    """

    path: str
    role: str
    equal: bool | None
    content: str | None
    num_tensors: int
    same_bytes: bool | None = None


class LeftOut(Model):
    """How many values of a JSON document a volatile key took out of the comparison."""

    path: str
    key: str
    num_values: int


class Shown(Model):
    """Why an item is in its state, and where that is seen."""

    text: str
    path: str | None
    line: int | None
    measured: bool


class ChecklistItem(Model):
    """One line of the checklist."""

    id: str
    group: str
    title: str
    state: ItemState
    shown: tuple[Shown, ...]
    rules: tuple[str, ...]

    @property
    def reason(self) -> str:
        """Why it is in its state: the first that shows it, and how many more there are."""
        first, more = self.shown[0], len(self.shown) - 1
        place = f" ({first.path}{f':{first.line}' if first.line else ''})" if first.path else ""
        return f"{first.text}{place}" + (f" (and {more} more)" if more else "")


class ReviewFinding(Model):
    """A rule that is broken, where, why that matters and how to mend it; `allowed` is the reason a person gave."""

    rule: str
    name: str
    title: str
    severity: str | None
    certainty: str
    items: tuple[str, ...]
    path: str | None
    line: int | None
    column: int | None
    message: str
    why: str
    fix: str
    source: str
    thread: str | None
    allowed: str


class UnreadFile(Model):
    """A file that the review could not read."""

    path: str
    reason: str


class Review(Model):
    """The checklist, and the findings it was judged from."""

    checklist: tuple[ChecklistItem, ...]
    findings: tuple[ReviewFinding, ...]
    allowed: tuple[ReviewFinding, ...]
    unread: tuple[UnreadFile, ...]
    vetoes: tuple[str, ...]
    weakened: tuple[str, ...] = ()
    measured: dict[str, JsonValue] | None
    num_files: int

    @property
    def undecided(self) -> tuple[str, ...]:
        """What could not be told of V1 to V5, in words: each blocks a certificate."""
        return tuple(
            f"{one.id} ({one.title}) could not be told: {one.reason}"
            for one in self.checklist
            if one.id.startswith("V") and one.state == "could not tell"
        )


class StoppedAt(Model):
    """The first difference of a prefix, at which every training was stopped."""

    trajectory: str
    run: int
    step: int


class ReplayedRecord(Model):
    """The archived run that a replay is held against."""

    run_id: str
    experiment: str
    commit: str
    verdict: str
    finished: str
    source: str
    key: str | None


class EnvironmentChange(Model):
    """One value of the environment then and now; None where there is none."""

    path: str
    archived: str | None
    today: str | None


class ImageIds(Model):
    """The image then and now."""

    archived: str | None
    today: str | None
    equal: bool


class Replay(Model):
    """What was replayed, on which hardware, and what is not as it was."""

    record: ReplayedRecord
    against: str | None
    tier: Literal["same machine", "same model", "same architecture", "other"]
    tier_detail: tuple[str, ...]
    environment: tuple[EnvironmentChange, ...]
    image: ImageIds
    code_changes: tuple[str, ...]
    preflight: tuple[PreflightRow, ...]


class Incidental(Model):
    """A fact that has nothing to do with a training, such as the host's name; whether the others had another one."""

    name: str
    varied: bool
    straight: str


class Verdict(Document):
    """The verdict of a certify or of a replay.

    `continued` names the trajectories that were finished when the certify was cut off, and were taken over.
    """

    schema_: Literal[2] = Field(default=2, alias="schema")
    kind: Literal["certify", "replay"] = "certify"
    experiment: str
    run_id: str
    commit: str
    dirty: bool
    runner: str
    gpus: tuple[str, ...] = ()
    environment: EnvironmentFacts | None = None
    scope: Prefix | None = None
    overrides: tuple[str, ...] = Field(default=(), exclude_if=lambda overrides: not overrides)
    stopped_at: StoppedAt | None = None
    continued: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    verdict: Word
    exit_code: int
    summary: str
    checks: Checks
    interruptions: tuple[Interruption, ...] = ()
    sweep: Sweep | None = Field(default=None, exclude_if=lambda sweep: sweep is None)
    compared: Compared
    first_divergence: FirstDivergence | None = None
    streams_that_differ: tuple[StreamDifference, ...] = ()
    final_state_equal: bool | None = None
    cause: Cause | None = None
    divergence: Divergence | None = Field(default=None, exclude_if=lambda shown: shown is None)
    control: Control
    restored: tuple[Restored, ...] = ()
    testimony: Testimony
    files: tuple[File, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    varied: tuple[Incidental, ...] = Field(default=(), exclude_if=lambda facts: not facts)
    problems: tuple[str, ...] = ()
    not_checked: tuple[str, ...] = ()
    review: Review | None = None
    replay: Replay | None = None

    @classmethod
    def load(cls, data: bytes | memoryview, name: str) -> Self:
        """Read `verdict.json` of any schema up to this one.

        Raises:
            TamperedError: it is malformed.
            UsageError: a newer version of this program wrote it in another format.
        """
        return cls.from_json(upgraded(read_json(data, name), name), name)


def upgraded(document: dict[str, Any], name: str) -> dict[str, Any]:
    """A verdict of schema 1 in the words of schema 2; any other as it is.

    Raises:
        UsageError: it is of a newer schema.
    """
    check_schema(document, SCHEMA, name)
    if document.get("schema") != 1:
        return document
    new = {key: value for key, value in document.items() if key not in ("schema", "oracles", "control")}
    new |= {"schema": SCHEMA, "checks": document.get("oracles")}
    control, first = document.get("control"), document.get("first_divergence")
    if isinstance(control, dict):
        rows = control.get("checks")
        new["control"] = {
            "failed_as_it_must": control.get("failed_as_it_must"),
            "controls": [_renamed(row, "failed_as_it_must", "detected") for row in rows]
            if isinstance(rows, list)
            else rows,
        }
    if isinstance(first, dict):
        new["first_divergence"] = _renamed(first, "oracle", "check")
    return new


def _renamed(row: Any, old: str, new: str) -> Any:
    return {new if key == old else key: value for key, value in row.items()} if isinstance(row, dict) else row
