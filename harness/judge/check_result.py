"""What a check stands on, and how much it compared."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from harness.documents.verdict import Check, CheckName, Compared, Restored, ResumePoint
from harness.evidence.trajectory import RunEvidence, TrajectoryEvidence
from harness.judge.crash import Crash
from harness.judge.diff import FileComparison, RunComparison, compare_files
from harness.judge.locate import Difference
from harness.judge.verdict_inputs import VerdictInputs

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoredCheckpoint:
    """A resumed run that started over although a checkpoint was complete."""

    run: RunEvidence
    num_saves: int
    saved_step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """A check with what it stands on.

    Attributes:
        reference: the trajectory that everything is compared with.
        trajectory: the one in which it differs, or that was compared.
        differences: in the order of their causes.
        problems: why it is INCONCLUSIVE, each in words.
        notes: what was seen and does not count.
        ignored: a resumed run that started over.
        crash: a resumed run that ended with an exception.
        swept: what came of each training that was killed at a drawn point, by name; of the check of resumes alone.
        is_open: whether it differs, and nobody knows whether the code is why: INCONCLUSIVE, with a first difference.
    """

    check: Check
    reference: TrajectoryEvidence | None = None
    trajectory: TrajectoryEvidence | None = None
    comparisons: tuple[RunComparison, ...] = ()
    files: tuple[FileComparison, ...] = ()
    differences: tuple[Difference, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    ignored: IgnoredCheckpoint | None = None
    crash: Crash | None = None
    is_open: bool = False
    swept: Mapping[str, CheckResult] = field(default_factory=dict)

    @property
    def restored(self) -> tuple[Restored, ...]:
        """What each resume brought back."""
        return tuple(comparison.restored for comparison in self.comparisons if comparison.restored is not None)


CheckResults = dict[CheckName, CheckResult]


def not_checked(reason: str, inputs: VerdictInputs, name: CheckName) -> CheckResult:
    """A check that was not made."""
    return CheckResult(check=Check(verdict="NOT_CHECKED", required=name in inputs.required, reason=reason))


def bound(num_held: int) -> str:
    """The exact bound: with n of n held, a failing share of 1 - 0.05^(1/n) or more has 5 % probability or less."""
    percent = 100 * (1 - (1 - CONFIDENCE) ** (1 / num_held))
    return f"{num_held} of {num_held} held: with 95 % confidence, after fewer than {percent:.1f} % of kills it differs"


def compared_files(
    inputs: VerdictInputs, straight: TrajectoryEvidence, other: TrajectoryEvidence, repeated: Collection[str] = ()
) -> tuple[FileComparison, ...]:
    """The files compared. Of a prefix only checkpoints, and nothing that may have been cut off while it was written."""
    if not other.has_files or any(run.record.was_stopped_early for run in (*straight.runs, *other.runs)):
        return ()
    is_whole = inputs.scope is None
    left, right = ([file for file in one.files if is_whole or file.role == "checkpoint"] for one in (straight, other))
    return compare_files(left, right, repeated if is_whole else ())


def undecided(
    inputs: VerdictInputs,
    name: CheckName,
    problems: tuple[str, ...],
    resumes: tuple[ResumePoint, ...] = (),
    compared: RunComparison | None = None,
) -> CheckResult:
    """A check without an answer; `compared` is what was found equal until something went wrong."""
    check = Check(
        verdict="INCONCLUSIVE",
        required=name in inputs.required,
        reason=problems[0],
        resumes=resumes,
        compared=Compared() if compared is None else compared.amount,
    )
    return CheckResult(check=check, problems=problems, reference=inputs.straight if compared is not None else None)


def all_differences(
    comparisons: Sequence[RunComparison], files: Sequence[FileComparison], other: TrajectoryEvidence
) -> tuple[Difference, ...]:
    """Of runs and of files, in the order of their causes."""
    found = [difference for comparison in comparisons for difference in comparison.differences]
    return tuple(sorted([*found, *file_differences(files, other)], key=lambda difference: difference.order))


def file_differences(files: Sequence[FileComparison], other: TrajectoryEvidence) -> list[Difference]:
    """The files that are not the same, after the last step of the last run."""
    last = other.runs[-1]
    at, step = (other.name, last.record.number), last.ledger.last_step if last.ledger is not None else 0
    return [
        Difference(trajectory=at[0], run=at[1], phase="file", step=step, stream=f.role, left=f.left, right=f.right)
        for f in files
        if f.is_equal is False
    ]


def comparison_problems(comparisons: Sequence[RunComparison], files: Sequence[FileComparison]) -> tuple[str, ...]:
    """What could not be compared, in words."""
    found = [problem for comparison in comparisons for problem in comparison.problems]
    found += [file.problem or f"{file.path} could not be compared" for file in files if file.is_equal is None]
    return tuple(dict.fromkeys(found))


def all_notes(comparisons: Sequence[RunComparison]) -> tuple[str, ...]:
    """What was seen and does not count."""
    return tuple(dict.fromkeys(note for comparison in comparisons for note in comparison.notes))


def amount_compared(comparisons: Sequence[RunComparison], files: Sequence[FileComparison]) -> Compared:
    """How much was compared."""
    total = Compared()
    for comparison in comparisons:
        total += comparison.amount
    for file in files:
        if file.is_equal is not None:
            total += Compared(tensors=file.num_tensors, bytes=file.size_bytes, files=1)
    return total
