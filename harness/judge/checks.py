"""Oracles: three questions, each judged on its own: does it repeat, does it survive a kill, is its image rebuilt.

The rules are those of the design: a fault of the infrastructure is never a divergence, missing evidence never a
certificate, and a difference after a resume is the resume's only if the pipeline repeats itself without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from harness.evidence.trajectory import Amount, RunEvidence, TrajectoryEvidence
from harness.judge.diff import FileComparison, RunComparison, align, compare_files, compare_run
from harness.judge.locate import Difference, ledger_of
from harness.judge.restored import Restored

CheckVerdict = Literal["CERTIFIED", "DIVERGED", "INCONCLUSIVE", "NOT_CHECKED"]
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Where a resumed run began; `checkpoint_step` is where the host found the same state, None if nowhere."""

    run: int
    started_after_step: int
    checkpoint_step: int | None
    step_source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question and its answer; `how` says what was compared, `reason` why it is not certified."""

    verdict: CheckVerdict
    required: bool
    how: str = ""
    reason: str = ""
    compared: Amount = field(default_factory=Amount)
    bound: str | None = None
    resumes: tuple[Resume, ...] = ()
    image_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A resumed run that started over although a checkpoint was complete."""

    run: RunEvidence
    num_saves: int
    saved_step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """An oracle with what it stands on.

    Attributes:
        trajectory: the one in which it differs, or that was compared.
        differences: in the order of their causes.
        problems: why it is INCONCLUSIVE, each in words.
        notes: what was seen and does not count.
    """

    oracle: Check
    trajectory: TrajectoryEvidence | None = None
    comparisons: tuple[RunComparison, ...] = ()
    files: tuple[FileComparison, ...] = ()
    differences: tuple[Difference, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    ignored: Ignored | None = None

    @property
    def restored(self) -> tuple[Restored, ...]:
        """What each resume brought back."""
        return tuple(comparison.restored for comparison in self.comparisons if comparison.restored is not None)


def judge_rerun(
    straight: TrajectoryEvidence,
    rerun: TrajectoryEvidence | None,
    resumed: TrajectoryEvidence | None,
    *,
    is_second_run_wanted: bool,
    is_required: bool,
    problems: tuple[str, ...],
    prefix_problems: tuple[str, ...],
    is_whole: bool = True,
) -> CheckResult:
    """Whether the same command gives the same bits in another process.

    Args:
        straight: the straight trajectory.
        rerun: a second straight trajectory, if one was run.
        resumed: its first run up to the kill is compared as well.
        is_second_run_wanted: False if the steps before the first kill are to answer the question.
        is_required: whether a certificate needs it.
        problems: what is wrong with `straight` or `rerun`.
        prefix_problems: what is wrong with the first run of `resumed`.
        is_whole: False if only the first steps were run; nothing has an end or outputs then.
    """
    if problems:
        return _undecided(is_required, problems)
    second = _compare_first(straight, rerun)
    prefix = _compare_first(straight, resumed) if not prefix_problems else None
    if second is not None and rerun is not None and (second.differences or not _differs(prefix)):
        return _rerun_judged(rerun, second, _files(straight, rerun, is_whole), is_required, is_second_run=True)
    if prefix is None or resumed is None:
        reason = (
            "no second straight run took place"
            if is_second_run_wanted
            else ("; ".join(prefix_problems) or "no step was complete before the first kill")
        )
        return CheckResult(oracle=Check(verdict="NOT_CHECKED", required=is_required, reason=reason))
    if is_second_run_wanted and rerun is None and not prefix.differences:
        reason = "no second straight run took place"
        return CheckResult(oracle=Check(verdict="NOT_CHECKED", required=is_required, reason=reason))
    return _rerun_judged(resumed, prefix, (), is_required, is_second_run=False)


def judge_resume(
    straight: TrajectoryEvidence,
    resumed: TrajectoryEvidence | None,
    *,
    is_required: bool,
    is_random: bool,
    problems: tuple[str, ...],
    rerun: Check,
    is_whole: bool = True,
    cut: str = "",
) -> CheckResult:
    """Whether the interrupted and resumed trajectory equals the straight one.

    Args:
        straight: the straight trajectory.
        resumed: the interrupted one.
        is_required: whether a certificate needs it.
        is_random: whether the points of the kills were drawn at random; hand-picked ones get no bound.
        problems: what is wrong with either.
        rerun: the answer to the other question.
        is_whole: False if only the first steps were run; nothing has an end or outputs then.
        cut: why the interrupted trajectory was stopped before its end; what it has shown until then is no yes.
    """
    if resumed is None:
        reason = "no interrupted training took place"
        return CheckResult(oracle=Check(verdict="NOT_CHECKED", required=is_required, reason=reason))
    resumes, alignment_problems = _resumes(straight, resumed)
    if problems or len(resumed.runs) < 2:
        found = problems or (cut or "nothing was resumed",)
        return _undecided(is_required, found, resumes=resumes)
    comparisons = tuple(compare_run(straight, resumed, number) for number in range(2, len(resumed.runs) + 1))
    files = _files(straight, resumed, is_whole)
    differences = _all_differences(comparisons, files, resumed)
    ignored, start_problems = _started_over(resumed)
    blocking = (*alignment_problems, *start_problems)
    unanswered = (cut,) if cut and not differences else ()
    more = (*blocking, *unanswered, *_problems(comparisons, files))
    amount = _amount(comparisons, files)
    num = len(resumed.runs) - 1
    extent = "" if is_whole else f", up to step {ledger_of(resumed.runs[-1]).last_step}"
    verdict, reason = _resume_answer(ignored, differences, blocking, more, amount, rerun)
    oracle = Check(
        verdict=verdict,
        required=is_required,
        how=(f"{num} kills, each followed by a resume" if num > 1 else "one kill, followed by a resume") + extent,
        reason=reason,
        compared=amount,
        bound=bound(num, "resumes") if is_random and verdict == "CERTIFIED" else None,
        resumes=resumes,
    )
    return CheckResult(
        oracle=oracle,
        trajectory=resumed,
        comparisons=comparisons,
        files=files,
        differences=differences,
        problems=tuple(dict.fromkeys((reason, *more))) if verdict == "INCONCLUSIVE" else (),
        notes=_notes(comparisons),
        ignored=ignored,
    )


def judge_rebuild(image_ids: tuple[str, ...], source: str, *, is_required: bool, is_given: bool) -> CheckResult:
    """Whether the image built again has the same id."""
    if not is_given:
        reason = "the image was not built again"
        return CheckResult(oracle=Check(verdict="NOT_CHECKED", required=is_required, reason=reason))
    if len(image_ids) < 2:
        found = "the record of the rebuild names fewer than two images"
        return _undecided(is_required, (found,))
    is_same = len(set(image_ids)) == 1
    return CheckResult(
        oracle=Check(
            verdict="CERTIFIED" if is_same else "DIVERGED",
            required=is_required,
            how=source,
            reason="" if is_same else "the image built again has another id",
            image_ids=image_ids,
        )
    )


def bound(num_held: int, what: str) -> str:
    """The exact bound: with n of n held, a failing share of 1 - 0.05^(1/n) or more has 5 % probability or less."""
    percent = 100 * (1 - (1 - CONFIDENCE) ** (1 / num_held))
    return f"{num_held} of {num_held} held: with 95 % confidence fewer than {percent:.1f} % of {what} differ"


def complete_saves(runs: Sequence[RunEvidence], outputs: frozenset[str]) -> tuple[int, int]:
    """How many checkpoint writes were over before the last of these runs died, and the step of the last one.

    A write that the kill came right after does not count: the file may not have had its name yet.
    """
    steps: list[int] = []
    for run in runs:
        ends = [event for event in run.events if event.kind == "save_end"]
        if ends and any(fault.kind == "after_write" for fault in run.record.faults):
            ends.pop()
        for event in ends:
            step = event.fields.get("step")
            if type(step) is int and step > 0 and event.fields.get("path") not in outputs:
                steps.append(step)
    return len(steps), max(steps, default=0)


def _files(straight: TrajectoryEvidence, other: TrajectoryEvidence, is_whole: bool) -> tuple[FileComparison, ...]:
    """The files compared. Of a prefix only checkpoints, and nothing that may have been cut off while it was written."""
    if any(run.record.was_stopped_early for run in (*straight.runs, *other.runs)):
        return ()
    kept = [[file for file in one.files if is_whole or file.role == "checkpoint"] for one in (straight, other)]
    return compare_files(*kept)


def _rerun_judged(
    other: TrajectoryEvidence,
    comparison: RunComparison,
    files: tuple[FileComparison, ...],
    is_required: bool,
    *,
    is_second_run: bool,
) -> CheckResult:
    is_whole = ledger_of(other.runs[0]).end is not None
    last = comparison.amount.steps
    part = f"a second straight run up to step {last}" if is_second_run else f"steps 1-{last} before the first kill"
    how = "second straight run" if is_whole else part
    differences = _all_differences((comparison,), files, other)
    problems = _problems((comparison,), files)
    amount = _amount((comparison,), files)
    if differences:
        verdict: CheckVerdict = "DIVERGED"
        reason = f"{differences[0].stream} differs at step {differences[0].step} between two fresh processes"
        problems = ()
    elif problems or amount.steps == 0:
        problems = problems or ("nothing was compared: the second process has no step",)
        verdict, reason = "INCONCLUSIVE", problems[0]
    else:
        verdict, reason = "CERTIFIED", ""
    held = bound(1, "reruns") if is_whole else f"{bound(1, 'reruns')} in their first {last} steps"
    oracle = Check(
        verdict=verdict,
        required=is_required,
        how=how,
        reason=reason,
        compared=amount,
        bound=held if verdict == "CERTIFIED" else None,
    )
    return CheckResult(
        oracle=oracle,
        trajectory=other,
        comparisons=(comparison,),
        files=files,
        differences=differences,
        problems=problems,
        notes=_notes((comparison,)),
    )


def _resume_answer(
    ignored: Ignored | None,
    differences: tuple[Difference, ...],
    blocking: tuple[str, ...],
    problems: tuple[str, ...],
    amount: Amount,
    rerun: Check,
) -> tuple[CheckVerdict, str]:
    if ignored is not None:
        return "DIVERGED", f"{ignored.run.name} started over instead of resuming from its checkpoint"
    if blocking:
        return "INCONCLUSIVE", blocking[0]
    if differences:
        first = differences[0]
        where = f"{first.stream} differs at step {first.step} of {first.trajectory}/{first.run}"
        if rerun.verdict == "CERTIFIED":
            return "DIVERGED", where
        why = "does not repeat itself" if rerun.verdict == "DIVERGED" else "was not shown to repeat itself"
        return "INCONCLUSIVE", f"{where}, but the pipeline {why} without a kill, so it is not known to be the resume's"
    if problems:
        return "INCONCLUSIVE", problems[0]
    if amount.steps == 0:
        return "INCONCLUSIVE", "nothing was compared: no step follows a resume"
    return "CERTIFIED", ""


def _undecided(is_required: bool, problems: tuple[str, ...], resumes: tuple[Resume, ...] = ()) -> CheckResult:
    oracle = Check(verdict="INCONCLUSIVE", required=is_required, reason=problems[0], resumes=resumes)
    return CheckResult(oracle=oracle, problems=problems)


def _compare_first(straight: TrajectoryEvidence, other: TrajectoryEvidence | None) -> RunComparison | None:
    if other is None or not other.runs or other.runs[0].ledger is None or not other.runs[0].ledger.steps:
        return None
    return compare_run(straight, other, 1)


def _differs(comparison: RunComparison | None) -> bool:
    return comparison is not None and bool(comparison.differences)


def _resumes(straight: TrajectoryEvidence, resumed: TrajectoryEvidence) -> tuple[tuple[Resume, ...], tuple[str, ...]]:
    """Where each resumed run began, found again by the host."""
    resumes: list[Resume] = []
    problems: list[str] = []
    for place, run in enumerate(resumed.runs[1:], start=1):
        if run.ledger is None:
            continue
        found = align(resumed.runs[:place], straight.runs[0].ledger, run.ledger.start)
        resumes.append(
            Resume(
                run=place + 1, started_after_step=found.claimed, checkpoint_step=found.found, step_source=found.source
            )
        )
        if not found.agrees:
            where = f"after step {found.found}" if found.found is not None else "nowhere before it"
            problems.append(
                f"{run.name}: the recorder says (by {found.source}) that it goes on after step {found.claimed}; "
                f"the same parameters and optimizer state are found {where}"
            )
    return tuple(resumes), tuple(problems)


def _started_over(resumed: TrajectoryEvidence) -> tuple[Ignored | None, tuple[str, ...]]:
    """Runs that began at step 1 again: a divergence if there was something to resume from, else no answer."""
    roles = {file.path: file.role for file in resumed.files}
    outputs = frozenset(path for path, role in roles.items() if role == "output")
    if "checkpoint" not in roles.values():
        outputs = frozenset()
    problems: list[str] = []
    for place, run in enumerate(resumed.runs[1:], start=1):
        if ledger_of(run).start.step > 0:
            continue
        num, step = complete_saves(resumed.runs[:place], outputs)
        if num:
            return Ignored(run=run, num_saves=num, saved_step=step), ()
        problems.append(
            f"{run.name} starts over, and no checkpoint was complete before the kill: nothing was resumed; "
            "interrupt after the first checkpoint"
        )
    return None, tuple(problems)


def _all_differences(
    comparisons: Sequence[RunComparison],
    files: Sequence[FileComparison],
    other: TrajectoryEvidence,
) -> tuple[Difference, ...]:
    differences = [difference for comparison in comparisons for difference in comparison.differences]
    last = other.runs[-1]
    step = ledger_of(last).last_step
    differences += [
        Difference(
            trajectory=other.name,
            run=last.record.number,
            phase="file",
            step=step,
            stream=file.role,
            left=file.left,
            right=file.right,
        )
        for file in files
        if file.is_equal is False
    ]
    return tuple(sorted(differences, key=lambda difference: difference.order))


def _problems(comparisons: Sequence[RunComparison], files: Sequence[FileComparison]) -> tuple[str, ...]:
    found = [problem for comparison in comparisons for problem in comparison.problems]
    found += [file.problem or f"{file.path} could not be compared" for file in files if file.is_equal is None]
    return tuple(dict.fromkeys(found))


def _notes(comparisons: Sequence[RunComparison]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(note for comparison in comparisons for note in comparison.notes))


def _amount(comparisons: Sequence[RunComparison], files: Sequence[FileComparison]) -> Amount:
    total = Amount()
    for comparison in comparisons:
        total += comparison.amount
    for file in files:
        if file.is_equal is not None:
            total += Amount(tensors=file.num_tensors, bytes=file.size_bytes, files=1)
    return total
