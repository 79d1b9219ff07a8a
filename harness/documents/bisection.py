"""`bisect.json`: which change altered the bits, and every trial that was made to find it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from harness.documents.document import Document, Model
from harness.documents.history import FileChange, PinChange

Answer = Literal["same", "different", "unresolved"]


class FirstDifference(Model):
    """Where a trial first differs; of a file that differs the phase is `file`, and `tensor` its path."""

    phase: str
    step: int
    stream: str
    tensor: str | None = None
    micro_batch: int | None = None
    note: str = ""

    def __str__(self) -> str:
        if self.phase == "file":
            return f"the file {self.tensor}"
        at = f"step {self.step}" if self.phase == "step" else f"the {self.phase} at step {self.step}"
        tensor = f", tensor {self.tensor}" if self.tensor else ""
        micro_batch = f", micro-batch {self.micro_batch}" if self.micro_batch else ""
        return f"{at}{micro_batch}, stream {self.stream}{tensor}" + (f" ({self.note})" if self.note else "")


class _Answered(Model):
    """`where` is the first difference, of `different` alone; `reason` says why a trial is `unresolved`."""

    answer: Answer
    num_steps: int = 0
    where: FirstDifference | None = None
    reason: str = ""

    @model_validator(mode="after")
    def _a_difference_is_somewhere(self) -> Self:
        if (self.answer == "different") != (self.where is not None):
            raise ValueError("a trial has a first difference if its answer is `different`, and only then")
        return self


class TrialResult(_Answered, Document):
    """`trials/<key>.json`: what one training says.

    `is_lasting`: whether trying again would say the same; a machine that lacked something may have it next time.
    """

    is_lasting: bool = True


class Trial(_Answered):
    """A trial that was asked for; `folder` is None where an earlier one answered."""

    label: str
    folder: str | None


class Reference(Model):
    """What the trials are compared with: where it comes from, and how many steps it has."""

    source: str
    steps: int


class CommitName(Model):
    """A commit of the line: 40 hex digits, and its first line."""

    commit: str
    subject: str


class LineCommit(CommitName):
    """The same, with how many parents it has."""

    num_parents: int


class Bisection(Document):
    """What both kinds of bisection have; `outcome` is `range` where candidates could not be tried."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    kind: Literal["commits", "locks"]
    experiment: str
    steps: int | None
    runner: str
    folder: str
    reference: Reference
    trials: tuple[Trial, ...]
    num_trials: int
    notes: tuple[str, ...]
    num_changes: int
    outcome: Literal["found", "range"]
    first_difference: FirstDifference | None


class CommitBisection(Bisection):
    """Between which commits of a line the bits changed; `files` are the first of those that `first_bad` changed."""

    kind: Literal["commits"] = "commits"
    good: str
    bad: str
    last_good: str
    first_bad: LineCommit
    candidates: tuple[CommitName, ...]
    files: tuple[FileChange, ...]
    num_files: int


class LockBisection(Bisection):
    """Which pins of two locks changed the bits, with the code of `commit`."""

    kind: Literal["locks"] = "locks"
    commit: str
    image: str
    changes: tuple[PinChange, ...]
    responsible: tuple[PinChange, ...]
    num_inconsistent: int
    num_unresolved: int
