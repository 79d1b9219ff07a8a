"""What `harness history --json` prints: the past certifies of an experiment, and what changed between them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, computed_field

from harness.documents.document import Document, Model

Source = Literal["runs", "manifests", "both"]


class PinChange(Model):
    """A distribution that two locks do not pin alike; a version is None where it is not locked."""

    name: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.name} {self.after} added"
        if self.after is None:
            return f"{self.name} {self.before} removed"
        if self.before == self.after:
            return f"{self.name} {self.before}: other files"
        return f"{self.name} {self.before} -> {self.after}"


class FileChange(Model):
    """A file that two commits do not have alike; the numbers of lines are None for a binary file."""

    path: str
    added: int | None
    removed: int | None


class ValueChange(Model):
    """A value of the manifest that changed; None where it is absent."""

    path: str
    before: str | None
    after: str | None


class LedgerDifference(Model):
    """The first stream in which two ledgers differ."""

    step: int
    stream: str
    phase: str


class Figures(Model):
    """What people look at first; None where it is not known.

    `last_loss` is the sum over the micro-batches of the last step, as the recorder's plots have it.
    """

    steps: int | None = None
    last_loss: float | None = None
    seconds: float | None = None


class PastRun(Model):
    """One certify or replay.

    `scope` is `the first 20 of 60 steps` and what was set for this run, or "" for the whole training as declared.
    `ledger_head` is the straight run's and covers all of its steps; `outputs` has the content digest of every declared
    output of the straight run, by path.
    """

    run_id: str
    date: str
    source: Source
    kind: str
    verdict: str
    scope: str
    commit: str
    dirty: bool
    runner: str
    image_id: str = ""
    machine: str = ""
    figures: Figures = Figures()
    ledger_head: str = ""
    outputs: dict[str, str] = Field(default_factory=dict)


class Between(Model):
    """What the repository and the ledgers say about two runs.

    `num_commits` is None where git does not know one of the commits, `pins` where one of the locks could not be read,
    `num_steps` (how many were compared) where the ledgers are not both at hand. `is_backwards` says that the second
    commit is the older one, or on another branch; `files` are those that the experiment is known to use.
    """

    num_commits: int | None = None
    subjects: tuple[str, ...] = ()
    is_backwards: bool = False
    files: tuple[FileChange, ...] = ()
    num_other_files: int = 0
    pins: tuple[PinChange, ...] | None = None
    num_steps: int | None = None
    first_difference: LedgerDifference | None = None


class Change(Between):
    """What changed from one run to the next.

    `numbers_equal` says whether outputs and ledgers are the same, as far as both are at hand, None if nothing is;
    `causes` are the kinds of things that changed and may have changed the numbers.
    """

    before: str
    after: str
    values: tuple[ValueChange, ...]
    image: tuple[str, str] | None
    numbers_equal: bool | None
    different_outputs: tuple[str, ...]
    causes: tuple[str, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def is_unexplained(self) -> bool:
        """Whether the numbers changed though nothing that they are known to depend on did."""
        return self.numbers_equal is False and not set(self.causes) - {"other files"}


class LeftOut(Model):
    """A folder that looks like a run and could not be read."""

    path: str
    problem: str


class History(Document):
    """The runs, oldest first, and what changed from each to the next one that trained."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    experiment: str
    records: tuple[PastRun, ...]
    changes: tuple[Change, ...]
    left_out: tuple[LeftOut, ...]
