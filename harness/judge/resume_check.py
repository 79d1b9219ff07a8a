"""Resume: whether a training that is killed and resumed equals the straight one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.documents.verdict import Check, CheckWord, Compared, ResumePoint
from harness.evidence.trajectory import RunEvidence, TrajectoryEvidence
from harness.judge.check_result import (
    CheckResult,
    IgnoredCheckpoint,
    all_differences,
    all_notes,
    amount_compared,
    compared_files,
    comparison_problems,
    not_checked,
    undecided,
)
from harness.judge.crash import Crash, nothing_saved, resume_crash
from harness.judge.diff import LENGTH, FileComparison, RunComparison, compare_run
from harness.judge.locate import Difference, ledger_of
from harness.judge.prefix import cut_short
from harness.judge.resume_step import SavedFiles, align
from harness.judge.soundness import finds_all_done, numbering_problems
from harness.judge.under_signal import has_saved_under_signal
from harness.judge.verdict_inputs import VerdictInputs


def judge_resume(
    inputs: VerdictInputs, straight: TrajectoryEvidence, problems: tuple[str, ...], rerun: CheckResult
) -> CheckResult:
    """Whether the interrupted and resumed trajectory equals the straight one.

    What it shows before something went wrong, a later kill that did not land or a later crash, counts all the same.
    """
    resumed, cut = inputs.resumed, cut_short(inputs, inputs.resumed)
    if resumed is None:
        return not_checked("no interrupted training took place", inputs, "resume")
    resumes, alignment_problems, findings = _resumes(straight, resumed)
    found = _compare_resumed(inputs, straight, resumed, problems, rerun)
    comparisons, files, differences = found.comparisons, found.files, found.differences
    if unsaved := nothing_saved(straight, resumed):
        return undecided(inputs, "resume", (unsaved, *problems), resumes=resumes)
    crash = resume_crash(resumed, inputs.interruptions, inputs.log_ends, inputs.steps) if straight.runs else None
    ignored, start_problems = _started_over(straight, resumed)
    # With nothing saved a training begins again, and rightly so; it counts as a resume only where nothing else does.
    is_resumed = inputs.counts_restarts or any(point.started_after_step > 0 for point in resumes)
    restarted = start_problems if is_resumed else ()
    all_done = tuple(
        f"{run.name} had no step left to train: all {inputs.steps} were done and saved before the kill"
        for run in resumed.runs[1:]
        if finds_all_done(resumed, run, inputs.steps)
    )
    if (problems or not comparisons) and not (differences or ignored or crash):
        reason = cut or "".join(f"{text}; interrupt earlier" for text in all_done[:1]) or "nothing was resumed"
        return undecided(inputs, "resume", problems or (reason,), resumes=resumes)
    blocking = (*numbering_problems(resumed), *alignment_problems, *(() if restarted else start_problems))
    # What a training has shown until it was stopped is no yes.
    unanswered = (cut,) if cut and not differences else ()
    more = (*blocking, *unanswered, *comparison_problems(comparisons, files), *found.unrepeated)
    compared = amount_compared(comparisons, files)
    num = len(resumed.runs) - 1 - len(all_done) - len(restarted)
    verdict, reason = _resume_answer(ignored, crash, differences, blocking, (*more, *problems), compared, rerun)
    crash = crash if crash is not None and reason == crash.sentence else None
    last = resumed.runs[-1].ledger
    extent = "" if inputs.scope is None or last is None else f", up to step {last.last_step}"
    check = Check(
        verdict=verdict,
        required="resume" in inputs.required,
        how=(f"{num} kills, each followed by a resume" if num > 1 else "one kill, followed by a resume") + extent,
        reason=reason,
        compared=compared,
        resumes=resumes,
    )
    return CheckResult(
        check=check,
        reference=straight,
        trajectory=resumed,
        comparisons=comparisons,
        files=files,
        differences=() if crash is not None else differences,
        problems=tuple(dict.fromkeys((reason, *more, *problems))) if verdict == "INCONCLUSIVE" else (),
        notes=(*findings, *all_done, *restarted, *all_notes(comparisons)),
        ignored=ignored,
        crash=crash,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resumed:
    """The resumed runs compared; `unrepeated` names files that differ without a kill as well."""

    comparisons: tuple[RunComparison, ...]
    files: tuple[FileComparison, ...]
    differences: tuple[Difference, ...]
    unrepeated: tuple[str, ...]


def _compare_resumed(
    inputs: VerdictInputs,
    straight: TrajectoryEvidence,
    resumed: TrajectoryEvidence,
    problems: tuple[str, ...],
    rerun: CheckResult,
) -> _Resumed:
    """Every resumed run that has a ledger, as far as there is one to compare it with; files if all went as planned."""
    numbers = [number for number, run in enumerate(resumed.runs[1:], start=2) if run.ledger is not None]
    if not straight.runs or straight.runs[0].ledger is None:
        numbers = []
    comparisons = tuple(compare_run(straight, resumed, number) for number in numbers)
    repeated = _repeated_names(straight, inputs.rerun, resumed)
    files = () if problems or not comparisons else compared_files(inputs, straight, resumed, repeated)
    other = {file.path for file in rerun.files if file.is_equal is False}
    unrepeated = [file.path for file in files if file.is_equal is False and file.path in other]
    files = tuple(file for file in files if file.path not in unrepeated)
    return _Resumed(
        comparisons=comparisons,
        files=files,
        differences=all_differences(comparisons, files, resumed) if comparisons else (),
        unrepeated=tuple(f"{path} differs without a kill as well" for path in unrepeated),
    )


def _repeated_names(
    straight: TrajectoryEvidence, rerun: TrajectoryEvidence | None, resumed: TrajectoryEvidence
) -> frozenset[str]:
    """The files that a resume must have left, and those that it must not have: those whose names do not vary anyway.

    Two trainings that nobody killed both have the former. A name that a resume gave to what it saved itself, and they
    never did, is of the latter: of a best checkpoint where there was none, for instance. A training that saves when it
    is told to end has a file more, and may have removed an older one for it.
    """
    if rerun is None or has_saved_under_signal(resumed.runs):
        return frozenset()
    left = {file.path for file in straight.files} & {file.path for file in rerun.files}
    one, two, three = (
        frozenset().union(*(SavedFiles((run,)).paths for run in trajectory.runs))
        for trajectory in (straight, rerun, resumed)
    )
    return frozenset(left | (three - one if one == two else frozenset()))


def complete_saves(runs: Sequence[RunEvidence], is_checkpoint: Callable[[str], bool]) -> tuple[int, int]:
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
            if type(step) is int and step > 0 and is_checkpoint(str(event.fields.get("path"))):
                steps.append(step)
    return len(steps), max(steps, default=0)


def _resume_answer(
    ignored: IgnoredCheckpoint | None,
    crash: Crash | None,
    differences: tuple[Difference, ...],
    blocking: tuple[str, ...],
    problems: tuple[str, ...],
    compared: Compared,
    rerun: CheckResult,
) -> tuple[CheckWord, str]:
    """In the order of what is proven: a start over, a difference, a crash; then what is missing."""
    if ignored is not None:
        return "DIVERGED", f"{ignored.run.name} started over instead of resuming from its checkpoint"
    if blocking and not crash:
        return "INCONCLUSIVE", blocking[0]
    if differences and not blocking:
        first = differences[0]
        where = f"{first.stream} differs at step {first.step} of {first.trajectory}/{first.run}"
        if first.stream == LENGTH:
            where = f"{first.trajectory}/{first.run} ends after {first.right}, the straight training after {first.left}"
        if _repeats(rerun, first):
            return "DIVERGED", where
        if crash is None:
            is_known = rerun.check.verdict == "DIVERGED"
            why = "does not repeat itself" if is_known else "was not shown to repeat itself"
            return (
                "INCONCLUSIVE",
                f"{where}, but the pipeline {why} without a kill, so it is not known to be the resume's",
            )
    if crash is not None:
        return "DIVERGED", crash.sentence
    if problems:
        return "INCONCLUSIVE", problems[0]
    if compared.steps == 0:
        return "INCONCLUSIVE", "nothing was compared: no step follows a resume"
    return "CERTIFIED", ""


def _repeats(rerun: CheckResult, first: Difference) -> bool:
    """Whether the pipeline gave the same steps without a kill, at least up to a difference; its files may differ."""
    if rerun.check.verdict == "CERTIFIED":
        return True
    if any(difference.phase != "file" for difference in rerun.differences):
        return False
    if rerun.reference is None:
        return False
    return rerun.check.compared.steps >= min(first.step, ledger_of(rerun.reference.runs[0]).last_step)


def _resumes(
    straight: TrajectoryEvidence, resumed: TrajectoryEvidence
) -> tuple[tuple[ResumePoint, ...], tuple[str, ...], tuple[str, ...]]:
    """Where each resumed run began, found again by the host; what contradicts it, and what only disagrees."""
    resumes: list[ResumePoint] = []
    problems: list[str] = []
    findings: list[str] = []
    for place, run in enumerate(resumed.runs[1:], start=1):
        if run.ledger is None:
            continue
        reference = straight.runs[0].ledger if straight.runs else None
        found = align(resumed.runs[:place], reference, run, run.ledger.start)
        findings += [found.finding] if found.finding else []
        resumes.append(
            ResumePoint(
                run=place + 1, started_after_step=found.claimed, checkpoint_step=found.found, step_source=found.source
            )
        )
        if not found.agrees:
            where = f"after step {found.found}" if found.found is not None else "nowhere before it"
            problems.append(
                f"{run.name}: the recorder says (by {found.source}) that it goes on after step {found.claimed}; "
                f"the same parameters and optimizer state are found {where}"
            )
    return tuple(resumes), tuple(problems), tuple(findings)


def _started_over(
    straight: TrajectoryEvidence, resumed: TrajectoryEvidence
) -> tuple[IgnoredCheckpoint | None, tuple[str, ...]]:
    """Runs that began at step 1 again: a divergence if there was something to resume from, else no answer."""
    roles = {file.path: file.role for file in resumed.files}
    outputs = frozenset(path for path, role in roles.items() if role == "output")
    if "checkpoint" not in roles.values():
        outputs = frozenset()
    named = straight.checkpoints | resumed.checkpoints
    problems: list[str] = []
    for place, run in enumerate(resumed.runs[1:], start=1):
        if run.ledger is None or run.ledger.start.step > 0:
            continue
        num, step = complete_saves(resumed.runs[:place], lambda path: path in named if named else path not in outputs)
        if num:
            return IgnoredCheckpoint(run=run, num_saves=num, saved_step=step), ()
        problems.append(
            f"{run.name} starts over, as no checkpoint was complete before the kill: that is right, and no resume"
        )
    return None, tuple(problems)
