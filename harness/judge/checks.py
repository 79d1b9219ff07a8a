"""Checks: rerun, resume and rebuild, each judged on its own: does it repeat, survive a kill, is its image rebuilt.

A fault of the infrastructure is never a divergence, missing evidence never a certificate, and a difference after a
resume is the resume's only if the pipeline repeats itself without one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from harness.documents.run import Fault
from harness.documents.verdict import Check, CheckName, CheckWord, Compared, Restored, ResumePoint
from harness.evidence.ledger import Event
from harness.evidence.trajectory import RunEvidence, TrajectoryEvidence
from harness.judge.crash import Crash, nothing_saved, resume_crash
from harness.judge.diff import LENGTH, FileComparison, RunComparison, compare_files, compare_run
from harness.judge.locate import Difference, ledger_of
from harness.judge.prefix import cut_short
from harness.judge.ranks import num_ranks
from harness.judge.resume_step import SavedFiles, align
from harness.judge.soundness import finds_all_done, numbering_problems, run_problems, trajectory_problems
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

    @property
    def restored(self) -> tuple[Restored, ...]:
        """What each resume brought back."""
        return tuple(comparison.restored for comparison in self.comparisons if comparison.restored is not None)


CheckResults = dict[CheckName, CheckResult]


def check_certify(inputs: VerdictInputs) -> CheckResults:
    """Judge the three checks of a certify."""
    if inputs.straight is None:
        nothing = not_checked("nothing was run", inputs, "rerun"), not_checked("nothing was run", inputs, "resume")
        return {"rerun": nothing[0], "resume": nothing[1], "rebuild": judge_rebuild(inputs)}
    straight = (*unsound(inputs, inputs.straight), *_missing(inputs, inputs.straight), *_other_ranks(inputs))
    rerun = judge_rerun(inputs, inputs.straight, (*straight, *unsound(inputs, inputs.rerun)))
    problems = (*straight, *unsound(inputs, inputs.resumed, inputs.interruptions))
    resume = judge_resume(inputs, inputs.straight, problems, rerun)
    return {"rerun": rerun, "resume": resume, "rebuild": judge_rebuild(inputs)}


def not_checked(reason: str, inputs: VerdictInputs, name: CheckName) -> CheckResult:
    """A check that was not made."""
    return CheckResult(check=Check(verdict="NOT_CHECKED", required=name in inputs.required, reason=reason))


def unsound(
    inputs: VerdictInputs, trajectory: TrajectoryEvidence | None, kills: tuple[Fault, ...] = ()
) -> tuple[str, ...]:
    """What was not as planned with a trajectory, in words."""
    if trajectory is None:
        return ()
    is_cut = inputs.stopped_at is not None
    problems = trajectory_problems(trajectory, steps=inputs.steps, kills=kills, stop=inputs.stop, is_cut=is_cut)
    return (*problems, *_borrowed(inputs, trajectory))


def _borrowed(inputs: VerdictInputs, trajectory: TrajectoryEvidence) -> Iterator[str]:
    """Files outside the output that a training read and another one saved: what is equal then may not be its own."""
    given = (inputs.straight, inputs.rerun, inputs.resumed)
    others = [one for one in given if one is not None and one is not trajectory]
    own = {event.fields.get("file") for event in _events(trajectory, "save_end", "move")}
    saved = {event.fields.get("file"): one.name for one in others for event in _events(one, "save_end")}
    for event in _events(trajectory, "restore"):
        path, file = str(event.fields.get("path")), event.fields.get("file")
        if path.startswith("/") and file not in own and (other := saved.get(file)) and file is not None:
            yield f"{trajectory.name} read {path}, which {other} saved; let each training write below {{output}} alone"


def _events(trajectory: TrajectoryEvidence, *kinds: str) -> Iterator[Event]:
    yield from (event for run in trajectory.runs for event in run.events if event.kind in kinds)


def judge_rerun(inputs: VerdictInputs, straight: TrajectoryEvidence, problems: tuple[str, ...]) -> CheckResult:
    """Whether the same command gives the same bits in another process: a second run, or one before its first kill.

    A difference in the steps is proven, whatever went wrong with these runs later on.
    """
    rerun, resumed, is_second_run_wanted = inputs.rerun, inputs.resumed, inputs.rerun_mode == "second_run"
    first_kill = inputs.interruptions[0] if inputs.interruptions else inputs.stop
    prefix_problems = run_problems(resumed.runs[0], first_kill, inputs.steps) if resumed and resumed.runs else ()
    second, prefix = _compare_first(straight, rerun), _compare_first(straight, resumed)
    is_prefix_different = prefix is not None and bool(prefix.differences)
    is_different = is_prefix_different or (second is not None and bool(second.differences))
    if problems and not is_different:
        return _undecided(inputs, "rerun", problems, compared=second or prefix)
    if second is not None and rerun is not None and (second.differences or not is_prefix_different):
        files = () if problems else _compared_files(inputs, straight, rerun)
        return _rerun_judged(inputs, straight, rerun, second, files, is_second_run=True)
    if is_second_run_wanted and rerun is None and not is_prefix_different:
        return not_checked("no second straight run took place", inputs, "rerun")
    if prefix is None or resumed is None or (prefix_problems and not is_prefix_different):
        reason = "; ".join(prefix_problems) or "no step was complete before the first kill"
        return not_checked("no second straight run took place" if is_second_run_wanted else reason, inputs, "rerun")
    return _rerun_judged(inputs, straight, resumed, prefix, (), is_second_run=False)


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
        return _undecided(inputs, "resume", (unsaved, *problems), resumes=resumes)
    crash = resume_crash(resumed, inputs.interruptions, inputs.log_ends, inputs.steps) if straight.runs else None
    ignored, start_problems = _started_over(resumed)
    all_done = tuple(
        f"{run.name} had no step left to train: all {inputs.steps} were done and saved before the kill"
        for run in resumed.runs[1:]
        if finds_all_done(resumed, run, inputs.steps)
    )
    if (problems or not comparisons) and not (differences or ignored or crash):
        reason = cut or "".join(f"{text}; interrupt earlier" for text in all_done[:1]) or "nothing was resumed"
        return _undecided(inputs, "resume", problems or (reason,), resumes=resumes)
    blocking = (*numbering_problems(resumed), *alignment_problems, *start_problems)
    # What a training has shown until it was stopped is no yes.
    unanswered = (cut,) if cut and not differences else ()
    more = (*blocking, *unanswered, *comparison_problems(comparisons, files), *found.unrepeated)
    compared = amount_compared(comparisons, files)
    num = len(resumed.runs) - 1 - len(all_done)
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
        bound=bound(num) if inputs.is_random and verdict == "CERTIFIED" else None,
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
        notes=(*findings, *all_done, *all_notes(comparisons)),
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
    files = () if problems or not comparisons else _compared_files(inputs, straight, resumed, repeated)
    other = {file.path for file in rerun.files if file.is_equal is False}
    unrepeated = [file.path for file in files if file.is_equal is False and file.path in other]
    files = tuple(file for file in files if file.path not in unrepeated)
    return _Resumed(
        comparisons=comparisons,
        files=files,
        differences=all_differences(comparisons, files, resumed) if comparisons else (),
        unrepeated=tuple(f"{path} differs without a kill as well" for path in unrepeated),
    )


def judge_rebuild(inputs: VerdictInputs) -> CheckResult:
    """Whether the image built again has the same id."""
    if inputs.rebuild is None:
        return not_checked("the image was not built again", inputs, "rebuild")
    ids = inputs.rebuild.image_ids
    if len(ids) < 2:
        return _undecided(inputs, "rebuild", ("the record of the rebuild names fewer than two images",))
    is_same = len(set(ids)) == 1
    return CheckResult(
        check=Check(
            verdict="CERTIFIED" if is_same else "DIVERGED",
            required="rebuild" in inputs.required,
            how=inputs.rebuild.source,
            reason="" if is_same else "the image built again has another id",
            image_ids=ids,
        )
    )


def bound(num_held: int) -> str:
    """The exact bound: with n of n held, a failing share of 1 - 0.05^(1/n) or more has 5 % probability or less."""
    percent = 100 * (1 - (1 - CONFIDENCE) ** (1 / num_held))
    return f"{num_held} of {num_held} held: with 95 % confidence, fewer than {percent:.1f} % of resumes differ"


def no_match(straight: TrajectoryEvidence, *, declares_checkpoints: bool) -> tuple[str, ...]:
    """Globs that match nothing of what a whole training left, with what it saved."""
    if straight.problems:
        return ()  # the files were not even listed
    events = [event for run in straight.runs for event in run.events if event.kind == "save_end"]
    saved = list(dict.fromkeys(str(event.fields.get("path")) for event in events))
    shown = f"; it saved {', '.join(saved[:4])}{' ...' if len(saved) > 4 else ''}" if saved else ""
    roles = {file.role for file in straight.files}
    if "output" not in roles:
        return (f"straight: no file matches the declared outputs: there is nothing to compare{shown}",)
    others = [path for path in saved if straight.file(path) is None]
    if declares_checkpoints and "checkpoint" not in roles and others:
        return (f"straight: no file matches the declared checkpoints{shown}",)
    return ()


def late_kills(kills: tuple[Fault, ...], straight: TrajectoryEvidence) -> tuple[str, ...]:
    """Kills at steps that the straight run, which ended by itself, never came to."""
    ledger = straight.runs[0].ledger if straight.runs else None
    if ledger is None or ledger.end is None:
        return ()
    late = [kill.step for kill in kills if kill.step > ledger.last_step]
    return (f"interruptions: step {late[0]} is beyond the last step ({ledger.last_step})",) if late else ()


def _missing(inputs: VerdictInputs, straight: TrajectoryEvidence) -> tuple[str, ...]:
    if inputs.scope is None and (problems := no_match(straight, declares_checkpoints=inputs.declares_checkpoints)):
        return problems
    if inputs.scope is None and (problems := late_kills(inputs.interruptions, straight)):
        return problems
    run = straight.runs[0] if straight.runs else None
    if run is not None and run.ledger is not None and not all("param" in s.streams for s in run.ledger.steps):
        return ("straight: the recorder saw no trainable parameters, so the ledger says too little",)
    return ()


def _other_ranks(inputs: VerdictInputs) -> Iterator[str]:
    """Trainings of another number of ranks than the straight one: they cannot be compared rank by rank."""
    for one in (inputs.rerun, inputs.resumed):
        if one is None or not one.runs or inputs.straight is None or not inputs.straight.runs:
            continue
        here, there = num_ranks(inputs.straight.runs[0]), num_ranks(one.runs[0])
        if here != there and one.runs[0].ledger is not None:
            yield f"{one.runs[0].name} had {there} ranks, the straight training had {here}"


def _compared_files(
    inputs: VerdictInputs, straight: TrajectoryEvidence, other: TrajectoryEvidence, repeated: Collection[str] = ()
) -> tuple[FileComparison, ...]:
    """The files compared. Of a prefix only checkpoints, and nothing that may have been cut off while it was written."""
    if any(run.record.was_stopped_early for run in (*straight.runs, *other.runs)):
        return ()
    is_whole = inputs.scope is None
    left, right = ([file for file in one.files if is_whole or file.role == "checkpoint"] for one in (straight, other))
    return compare_files(left, right, repeated if is_whole else ())


def _repeated_names(
    straight: TrajectoryEvidence, rerun: TrajectoryEvidence | None, resumed: TrajectoryEvidence
) -> frozenset[str]:
    """The files that a resume must have left, and those that it must not have: those whose names do not vary anyway.

    Two trainings that nobody killed both have the former. A name that a resume gave to what it saved itself, and they
    never did, is of the latter: of a best checkpoint where there was none, for instance.
    """
    if rerun is None:
        return frozenset()
    left = {file.path for file in straight.files} & {file.path for file in rerun.files}
    one, two, three = (
        frozenset().union(*(SavedFiles((run,)).paths for run in trajectory.runs))
        for trajectory in (straight, rerun, resumed)
    )
    return frozenset(left | (three - one if one == two else frozenset()))


def _rerun_judged(
    inputs: VerdictInputs,
    straight: TrajectoryEvidence,
    other: TrajectoryEvidence,
    comparison: RunComparison,
    files: tuple[FileComparison, ...],
    *,
    is_second_run: bool,
) -> CheckResult:
    last = comparison.amount.steps
    part = f"a second straight run up to step {last}" if is_second_run else f"steps 1-{last} before the first kill"
    differences = all_differences((comparison,), files, other)
    problems = comparison_problems((comparison,), files)
    compared = amount_compared((comparison,), files)
    verdict: CheckWord = "CERTIFIED"
    reason = ""
    if differences:
        verdict, problems = "DIVERGED", ()
        first = differences[0]
        reason = f"{first.stream} differs at step {first.step} between two fresh processes"
        if first.stream == LENGTH:
            reason = f"a second straight run ends after {first.right}, the first after {first.left}"
    elif problems or compared.steps == 0:
        problems = problems or ("nothing was compared: the second process has no step",)
        verdict, reason = "INCONCLUSIVE", problems[0]
    check = Check(
        verdict=verdict,
        required="rerun" in inputs.required,
        how="second straight run" if other.runs[0].ledger and other.runs[0].ledger.end else part,
        reason=reason,
        compared=compared,
    )
    return CheckResult(
        check=check,
        reference=straight,
        trajectory=other,
        comparisons=(comparison,),
        files=files,
        differences=differences,
        problems=problems,
        notes=all_notes((comparison,)),
    )


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


def _undecided(
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


def _compare_first(straight: TrajectoryEvidence, other: TrajectoryEvidence | None) -> RunComparison | None:
    ledgers = [one.runs[0].ledger if one is not None and one.runs else None for one in (straight, other)]
    if other is None or ledgers[0] is None or ledgers[1] is None or not ledgers[1].steps:
        return None
    return compare_run(straight, other, 1)


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


def _started_over(resumed: TrajectoryEvidence) -> tuple[IgnoredCheckpoint | None, tuple[str, ...]]:
    """Runs that began at step 1 again: a divergence if there was something to resume from, else no answer."""
    roles = {file.path: file.role for file in resumed.files}
    outputs = frozenset(path for path, role in roles.items() if role == "output")
    if "checkpoint" not in roles.values():
        outputs = frozenset()
    problems: list[str] = []
    for place, run in enumerate(resumed.runs[1:], start=1):
        if run.ledger is None or run.ledger.start.step > 0:
            continue
        num, step = complete_saves(resumed.runs[:place], outputs)
        if num:
            return IgnoredCheckpoint(run=run, num_saves=num, saved_step=step), ()
        problems.append(
            f"{run.name} starts over, and no checkpoint was complete before the kill: nothing was resumed; "
            "interrupt after the first checkpoint"
        )
    return None, tuple(problems)


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
