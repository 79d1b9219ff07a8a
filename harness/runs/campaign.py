"""All runs of one certify, side by side where there are cores: straight, rerun, interrupted, and the controls."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import dataclass

from harness.documents.experiment import Experiment
from harness.documents.run import Fault, RunRecord
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.checks import late_kills, no_match
from harness.judge.kill_points import chosen_kills
from harness.judge.soundness import num_steps, trajectory_problems
from harness.judge.sweep import points_by_name
from harness.runs.context import RunContext
from harness.runs.load_evidence import load_trajectory
from harness.runs.newest_checkpoint import check_globs
from harness.runs.sweep import RunningSweep
from harness.runs.trajectory import copy_trajectory, run_interrupted, run_resume_of_copy, run_resumed_once, run_straight
from harness.runs.workspace import can_copy_inputs
from harness.system.deferred_signals import Pool, deferred, wait_for

MAX_PARALLEL = 8  # more are rarely faster, and each may take memory_gib
STRAIGHT, RERUN, RESUMED = "straight", "rerun", "resumed"
CONTROL_PARAM, CONTROL_OPTIM = "control-param", "control-optim"

TRAJECTORIES = (STRAIGHT, RERUN, RESUMED, CONTROL_PARAM, CONTROL_OPTIM)

Records = dict[str, tuple[RunRecord, ...]]
_Work = Callable[[], tuple[RunRecord, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """Which trajectories are run.

    `flip_step` is where the live parameter bit is flipped, `num_swept` how many points of a sweep are drawn.
    """

    trajectories: tuple[str, ...]
    flip_step: int
    num_parallel: int
    num_swept: int = 0


def plan_campaign(experiment: Experiment, *, with_controls: bool, cores: int, num_swept: int = 0) -> Campaign:
    """What has to run for this experiment; pure."""
    names = [STRAIGHT]
    if experiment.is_killed:
        names.append(RESUMED)
    if "rerun" in experiment.policy.required and experiment.policy.rerun == "second_run":
        names.append(RERUN)
    if with_controls:
        names.append(CONTROL_PARAM)
        if experiment.is_killed:
            names.append(CONTROL_OPTIM)
    return Campaign(
        trajectories=tuple(names),
        flip_step=min(2, experiment.steps or 1),
        num_parallel=max(1, min(MAX_PARALLEL if num_swept else 3, cores // _threads(experiment, cores))),
        num_swept=num_swept,
    )


def run_campaign(context: RunContext, campaign: Campaign) -> Records:
    """Run every trajectory of the campaign; those that a failed straight run made pointless are missing.

    So are those of a prefix that a first difference made pointless before they began.

    Raises:
        Interrupted: Ctrl-C; every container is gone, finished runs stay.
    """
    with Pool(campaign.num_parallel) as pool:
        futures: dict[str, Future[tuple[RunRecord, ...]]] = {}

        def submit(name: str, work: _Work, before: Callable[[], None] = lambda: None) -> bool:
            """Run a trajectory, unless it is finished: then there is nothing to do, and the answer is true."""
            if name not in campaign.trajectories:
                return False
            known = _taken(context, name)
            if known is None:
                before()
            futures[name] = pool.submit(lambda: known or _kept(context, name, work))
            return known is not None

        def branch_off(number: int) -> None:
            # The control resumes from what a kill left, so it is copied before the resume changes it.
            copy = functools.partial(copy_trajectory, context, RESUMED, CONTROL_OPTIM)
            submit(CONTROL_OPTIM, lambda: _control_optim(context, number), copy)

        # The longest first; in a prefix the shortest: a pipeline that does not repeat itself need not be interrupted.
        first, second = (RESUMED, RERUN) if context.scope is None else (RERUN, RESUMED)
        works = {
            RERUN: lambda: run_straight(context, RERUN),
            RESUMED: lambda: run_interrupted(context, RESUMED, branch_off),
        }
        is_whole = False
        try:
            submit(STRAIGHT, lambda: run_straight(context, STRAIGHT))
            declared = context.experiment
            if declared.steps is None or declared.chooses_kills or campaign.num_swept or not can_copy_inputs(context):
                # It says how many steps there are. And all others are compared with it: it shares no file with them.
                wait_for([futures[STRAIGHT]])
                if early_problems(context, futures[STRAIGHT].result()):
                    return {STRAIGHT: futures[STRAIGHT].result()}
            if declared.chooses_kills:
                check_globs(declared.resume or (), context.folder / STRAIGHT)
                context = _with_kills(context, futures[STRAIGHT].result())
                if not context.experiment.kills:
                    return {STRAIGHT: futures[STRAIGHT].result()}
            taken = {name for name in (first, second) if submit(name, works[name])}
            if RESUMED in taken:
                submit(CONTROL_OPTIM, lambda: _control_optim_alone(context))
            if campaign.num_swept:
                futures |= _sweep(context, pool, futures[STRAIGHT].result(), campaign.num_swept)
            submit(CONTROL_PARAM, lambda: _control_param(context, campaign.flip_step))
            is_whole = _drain(futures, lambda records: early_problems(context, records))
        finally:
            if not is_whole:
                context.cancel.set()
                for future in futures.values():
                    future.cancel()
    finished = {name: future for name, future in futures.items() if not future.cancelled() and not future.exception()}
    names = (*campaign.trajectories, *sorted(futures.keys() - set(campaign.trajectories)))
    results = {name: finished[name].result() for name in names if name in finished}
    return {name: records for name, records in results.items() if records}


def _sweep(
    context: RunContext, pool: Pool, straight: tuple[RunRecord, ...], num: int
) -> dict[str, Future[tuple[RunRecord, ...]]]:
    """Begin the trainings of a sweep that are not finished; the points follow from the straight run."""
    evidence = _straight(context, straight, has_contents=True)
    points, num_possible = points_by_name(evidence, context.commit, num)
    context.listener.note(f"sweep: {len(points)} of {num_possible} points, drawn by commit {context.commit[:12]}")
    known = {name: _taken(context, name) or () for name in points}
    sweep = RunningSweep(context, evidence, {name: point for name, point in points.items() if not known[name]})

    def train(name: str) -> tuple[RunRecord, ...]:
        return known[name] or _kept(context, name, lambda: sweep.run(name))

    return {name: pool.submit(train, name) for name in points}


def _taken(context: RunContext, name: str) -> tuple[RunRecord, ...] | None:
    return None if context.continuation is None else context.continuation.take(name, context.experiment)


def _kept(context: RunContext, name: str, work: _Work) -> tuple[RunRecord, ...]:
    records = () if context.is_over(name) else work()
    kept = context.continuation
    return records if kept is None else kept.keep(name, context.experiment, records)


def early_problems(context: RunContext, records: tuple[RunRecord, ...]) -> tuple[str, ...]:
    """What the straight run alone tells against a certificate: an error, other steps, nothing of what is declared.

    It is told while the others are on their way: they are not worth their time then.
    """
    declared, straight = context.experiment, _straight(context, records)
    stop = None if context.scope is None else context.scope.stop
    is_cut = any(record.was_stopped_early for record in records)
    problems = trajectory_problems(
        straight, steps=num_steps(declared.steps, straight), kills=(), stop=stop, is_cut=is_cut
    )
    if problems or context.scope is not None:
        return problems
    kills = tuple(kill.fault for kill in declared.kills)
    return (*no_match(straight, declares_checkpoints=bool(declared.checkpoints)), *late_kills(kills, straight))


def _straight(context: RunContext, records: tuple[RunRecord, ...], *, has_contents: bool = False) -> TrajectoryEvidence:
    """The straight run as far as it is needed while others wait for it: mostly without the contents of its files."""
    declared, folder = context.experiment, context.folder / STRAIGHT
    globs = (declared.outputs, declared.checkpoints, declared.policy.volatile)
    return load_trajectory(folder, STRAIGHT, records, *globs, has_contents=has_contents, derived=declared.derived)


def _with_kills(context: RunContext, records: tuple[RunRecord, ...]) -> RunContext:
    """The context with the kills that follow from the straight run; they are told."""
    chosen = chosen_kills(context.experiment, _straight(context, records), context.commit)
    for text in filter(None, (f"kills: {', '.join(kill.words for kill in chosen.kills)}", chosen.warning)):
        context.listener.note(text)
    experiment = context.experiment.model_copy(update={"interruptions": chosen.kills})
    return dataclasses.replace(context, experiment=experiment)


def _drain(
    futures: dict[str, Future[tuple[RunRecord, ...]]], look: Callable[[tuple[RunRecord, ...]], tuple[str, ...]]
) -> bool:
    """Wait for all, also for those that others submit meanwhile; the first exception ends the waiting.

    Returns:
        False when the straight run tells that nothing can be compared: the others are not worth their time.
    """
    is_seen = False
    while True:
        current = list(futures.values())
        with deferred():
            state = wait(current, timeout=0.5, return_when=FIRST_EXCEPTION)
        for future in state.done:
            future.result()
        straight = futures[STRAIGHT]
        if straight in state.done and not is_seen:
            is_seen = True
            if look(straight.result()):
                return False
        if len(futures) == len(current) and not state.not_done:
            return True


def _control_param(context: RunContext, step: int) -> tuple[RunRecord, ...]:
    stop = min(step + 1, context.experiment.steps or step + 1)
    return run_straight(context, CONTROL_PARAM, (Fault(kind="flip_param", step=step), Fault(kind="stop", step=stop)))


def _control_optim(context: RunContext, number: int) -> tuple[RunRecord, ...]:
    return run_resume_of_copy(context, CONTROL_OPTIM, _optim_faults(context, number), number + 1)


def _control_optim_alone(context: RunContext) -> tuple[RunRecord, ...]:
    """The control where the interrupted trajectory is finished: what its kill left is there no more."""
    return run_resumed_once(context, CONTROL_OPTIM, lambda number: _optim_faults(context, number))


def _optim_faults(context: RunContext, number: int) -> tuple[Fault, ...]:
    kill = context.experiment.kills[number - 1].step
    stop = min(kill + 1, context.experiment.steps or kill + 1)
    return Fault(kind="flip_optim", step=kill), Fault(kind="stop", step=stop)


def _threads(experiment: Experiment, cores: int) -> int:
    """Threads that one run uses, as it declares them."""
    declared = experiment.environment.get("OMP_NUM_THREADS", "")
    return int(declared) if declared.isdigit() and int(declared) > 0 else max(1, cores)
