"""Soundness: whether the runs of a trajectory happened as planned and left whole evidence.

Whatever is wrong here makes a check INCONCLUSIVE. It is never a difference: a run that died of something else than
its planned kill says nothing about reproducibility.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.documents.run import SIGKILL_EXIT_CODE, SIGNAL, Fault
from harness.evidence.trajectory import RunEvidence, TrajectoryEvidence
from harness.judge.ranks import num_ranks, rank_problems
from harness.judge.recordable import why_not_recorded

SIGXFSZ_EXIT_CODE = 153
NEVER_KILLED_EXIT_CODE = 86
_WRITES = ("before_write", "in_write", "after_write")


def num_steps(declared: int | None, straight: TrajectoryEvidence | None) -> int:
    """The steps that every training has: those declared, else those of the straight run; 0 where nobody knows."""
    ledger = straight.runs[0].ledger if straight is not None and straight.runs else None
    return declared or (ledger.last_step if ledger is not None else 0)


def trajectory_problems(
    trajectory: TrajectoryEvidence,
    *,
    steps: int,
    kills: tuple[Fault, ...],
    stop: Fault | None = None,
    is_cut: bool = False,
) -> tuple[str, ...]:
    """Everything that was not as planned, in words.

    Args:
        trajectory: its runs and files.
        steps: optimizer steps that the experiment declares.
        kills: the planned kills, one for each run but the last.
        stop: how the last run was to end, where only a prefix is run; None for a run that was to finish.
        is_cut: whether all runs were stopped at a first difference: the later ones are not missing then.
    """
    problems = list(trajectory.problems)
    expected = len(kills) + 1
    if len(trajectory.runs) != expected and not is_cut:
        problems.append(f"{trajectory.name}: {len(trajectory.runs)} of {expected} runs took place")
    for place, run in enumerate(trajectory.runs):
        kill = kills[place] if place < len(kills) else stop
        if kill is not None or not finds_all_done(trajectory, run, steps):
            problems += run_problems(run, kill, steps)
    return (*problems, *numbering_problems(trajectory))


def numbering_problems(trajectory: TrajectoryEvidence) -> tuple[str, ...]:
    """Why the numbers of its steps cannot be trusted: steps that are compared may not be the same ones then."""
    furthest = 0
    problems = []
    for place, run in enumerate(trajectory.runs):
        for one in (run, *run.ranks):
            if one.extra_ledgers:
                problems.append(f"{one.name}: more than one process trained ({', '.join(one.extra_ledgers)})")
        if run.ledger is not None and num_ranks(run) != (first := num_ranks(trajectory.runs[0])):
            problems.append(f"{run.name} had {num_ranks(run)} ranks, {trajectory.runs[0].name} had {first}")
        if run.ledger is None:
            continue
        if place > 0 and run.ledger.start.step > furthest:
            claimed = run.ledger.start.step
            problems.append(f"{run.name} starts after step {claimed}, but only {furthest} steps are recorded before it")
        furthest = max(furthest, run.ledger.last_step)
    return tuple(problems)


def finds_all_done(trajectory: TrajectoryEvidence, run: RunEvidence, steps: int) -> bool:
    """Whether a resume ended by itself without a step, for the last step was done and saved before the kill."""
    record = run.record
    trained = run.ledger is not None or run.ledger_bytes or any(event.kind == "recorder_error" for event in run.events)
    if record.mode != "resume" or record.exit_code != 0 or record.error or record.was_stopped_early or trained:
        return False
    done = [one.ledger.last_step for one in trajectory.runs[: record.number - 1] if one.ledger is not None]
    has_read = any(event.kind == "restore" and event.fields.get("ok") is True for event in run.events)
    return has_read and steps > 0 and max(done, default=0) >= steps


def run_problems(run: RunEvidence, kill: Fault | None, steps: int) -> tuple[str, ...]:
    """What was not as planned with one run; `kill` is None for a run that was to finish."""
    record = run.record
    if record.error:
        return (f"{run.name}: {record.error}",)
    if record.oom_killed:
        return (f"{run.name} ran out of memory",)
    if record.was_stopped_early and run.ledger is None:
        return (f"{run.name} was stopped, for another training differed, before it had a step",)
    if (reason := why_not_recorded(run)) is not None:
        return (reason,)
    problems = [] if record.was_stopped_early else list(_exit_problems(run, kill, steps))
    for one in (run, *run.ranks):
        problems += _recording_problems(one)
        if one.ledger is not None and kill is None and not record.was_stopped_early:
            problems += _finish_problems(one, steps)
    return (*problems, *rank_problems(run))


def _recording_problems(run: RunEvidence) -> list[str]:
    """Why one process was not recorded, or not to its end."""
    problems = [run.problem] if run.problem else []
    stopped = [event for event in run.events if event.kind == "recorder_error"]
    if stopped:
        fields = stopped[0].fields
        problems.append(f"{run.name}: the recorder stopped: {fields.get('type')}: {str(fields.get('message'))[:200]}")
    if run.ledger is None:
        problems += [] if run.problem else [f"{run.name} left no ledger: nothing that it did is known"]
    return problems


def gpu_problems(straight: TrajectoryEvidence, num_gpus: int) -> tuple[str, ...]:
    """Whether a training that was given GPUs used none: bits of a CPU say nothing of an experiment on a GPU."""
    progress = [row for run in straight.runs for row in run.progress]
    if num_gpus == 0 or not progress or any(row.vram_bytes for row in progress):
        return ()
    return (f"straight: the training was given {num_gpus} GPUs and took no memory on any: it ran on the CPU",)


def has_landed(run: RunEvidence, kill: Fault, steps: int) -> bool:
    """Whether the run died at its planned point and of nothing else."""
    return not list(_exit_problems(run, kill, steps)) and not run.record.oom_killed and not run.record.error


def _exit_problems(run: RunEvidence, kill: Fault | None, steps: int) -> Iterator[str]:
    code = run.record.exit_code
    if kill is None:
        if code != 0:
            yield f"{run.name} ended with exit code {code}; a run that finishes ends with 0"
        return
    is_stop = kill.kind == "stop"
    point = f"{kill.signal or kill.kind} at step {kill.step}"
    what = f"the planned stop after step {kill.step}" if is_stop else f"the kill ({point})"
    killed_by = run.record.killed_by
    allowed = {SIGKILL_EXIT_CODE, SIGXFSZ_EXIT_CODE} if kill.kind == "in_write" else {SIGKILL_EXIT_CODE}
    if killed_by is None and code == 0:
        yield f"{run.name}: {what} never landed: the run finished"
    elif killed_by is None and code == NEVER_KILLED_EXIT_CODE:
        yield f"{run.name}: {what} never landed: nobody killed the waiting process"
    elif killed_by is None and code not in allowed:
        yield f"{run.name} ended with exit code {code} instead of {what}"
    elif kill.kind == SIGNAL and run.ledger is not None and _was_reached(run, kill) and _trained_on(run, steps):
        yield (
            f"{run.name} was not interrupted: it was sent {kill.signal} at step {kill.step} and trained to its last "
            f"step within {kill.grace_s} s; signal it earlier, lower grace_s, or let it end when it is told to"
        )
    elif kill.kind != SIGNAL and killed_by not in (None, kill.by):
        yield f"{run.name}: {what} was to come from {kill.by} and came from {killed_by}"
    elif run.ledger is not None and not _was_reached(run, kill):
        yield f"{run.name}: {what} was never reached: no event of it was recorded"
    elif run.ledger is not None and not _is_in_place(run, kill):
        yield f"{run.name}: {what} came after step {run.ledger.last_step}"


def _trained_on(run: RunEvidence, steps: int) -> bool:
    """Whether a training that was told to end came to its last step all the same."""
    return run.ledger is not None and steps > 0 and run.ledger.last_step >= steps


def _was_reached(run: RunEvidence, kill: Fault) -> bool:
    events = [event for one in (run, *run.ranks) for event in one.events]
    faults = [event.fields.get("fault") for event in events if event.kind == "fault"]
    return any(isinstance(f, dict) and (f.get("kind"), f.get("step")) == (kill.kind, kill.step) for f in faults)


def _is_in_place(run: RunEvidence, kill: Fault) -> bool:
    ranks = [one for one in (run, *run.ranks) if one.ledger is not None and kill.rank in (None, one.rank)]
    last = max((one.ledger.last_step for one in ranks if one.ledger is not None), default=0)
    if kill.kind in _WRITES:
        return last >= kill.step
    if kill.kind == SIGNAL:
        return last >= kill.step - (kill.micro_batch is not None)
    return last == (kill.step if kill.kind in ("after_step", "stop") else kill.step - 1)


def _finish_problems(run: RunEvidence, steps: int) -> Iterator[str]:
    ledger = run.ledger
    if ledger is None:
        return
    if ledger.end is None:
        yield f"{run.name}: the ledger has no end: the recorder did not see the process finish"
    if ledger.last_step != steps:
        hint = f" (a training that stops early by itself declares steps: {ledger.last_step})" if ledger.end else ""
        yield f"{run.name} ended after step {ledger.last_step}; the experiment declares {steps}{hint}"
