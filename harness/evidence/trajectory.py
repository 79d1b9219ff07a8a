"""Evidence: everything that the runs of a trajectory left behind, read and bounded, not yet judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from harness.documents.digest import Digest
from harness.documents.run import RunRecord
from harness.evidence.content import Content
from harness.evidence.ledger import Event, Ledger, Progress, Sidecar
from harness.evidence.tensor_digest import ALGORITHM

Role = Literal["output", "checkpoint"]
SWEPT = "swept-"
"""What the names of trainings begin with that are killed at a drawn point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEvidence:
    """A declared file.

    Attributes:
        path: below the trajectory's output folder, with `/`.
        role: a file that both globs name is an output.
        sha256: of the file's bytes: information only, unless both sides have the same.
        content: what it holds, less volatile keys; None if it could not be read, then `problem` says why.
        is_derived: whether the experiment says that its tensors are computed from the weights.
    """

    path: str
    role: Role
    size_bytes: int
    sha256: Digest | None
    content: Content | None
    problem: str | None = None
    is_derived: bool = False

    @property
    def content_digest(self) -> Digest | None:
        """What files are compared by."""
        return None if self.content is None else self.content.content_digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvidence:
    """One run: what the host saw, and what the recorder wrote in it.

    Attributes:
        ledger: None if there is none or it is malformed, then `problem` says why.
        ledger_bytes: the file that `ledger` was parsed from.
        extra_ledgers: names of further ledgers of the same rank: more than one process trained.
        problem: the first reason why this run's evidence is not whole.
        rank: of the process in a distributed training; the others are `ranks` of rank 0.
    """

    record: RunRecord
    ledger: Ledger | None
    ledger_bytes: bytes = field(default=b"", repr=False)
    extra_ledgers: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    sidecar: Sidecar | None = None
    progress: tuple[Progress, ...] = ()
    problem: str | None = None
    rank: int = 0
    ranks: tuple[RunEvidence, ...] = ()

    @property
    def name(self) -> str:
        """How messages call it: `resumed/2`, or `resumed/2, rank 1`."""
        name = f"{self.record.trajectory}/{self.record.number}"
        return f"{name}, rank {self.rank}" if self.rank else name

    def of_rank(self, rank: int) -> RunEvidence | None:
        """The evidence of one rank; None if there is none."""
        return next((one for one in (self, *self.ranks) if one.rank == rank), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrajectoryEvidence:
    """The runs that form one training, in order, and the files it left.

    Attributes:
        problems: those of the files' folder.
        has_files: whether its output is there; that of a swept training is given back once it is found equal.
        checkpoints: paths of files that were saved and had, then or later, a name that is declared as a checkpoint's;
            where none had, what is saved is not told apart.
    """

    name: str
    runs: tuple[RunEvidence, ...]
    files: tuple[FileEvidence, ...]
    problems: tuple[str, ...] = ()
    checkpoints: frozenset[str] = frozenset()
    has_files: bool = True
    _by_path: dict[str, FileEvidence] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._by_path.update((file.path, file) for file in self.files)

    @property
    def last(self) -> RunEvidence | None:
        """The run that was to finish."""
        return self.runs[-1] if self.runs else None

    @property
    def algorithm(self) -> str:
        """Of the digests of tensors that its ledgers hold."""
        return next((run.ledger.start.algorithm for run in self.runs if run.ledger is not None), ALGORITHM)

    def file(self, path: str) -> FileEvidence | None:
        """The file at a path."""
        return self._by_path.get(path)
