"""Sweeps: kills at points drawn at random, each in a training of its own, judged like any other resume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from harness.documents.run import Fault
from harness.documents.verdict import Compared, Sweep, SweptPoint
from harness.evidence.trajectory import SWEPT, TrajectoryEvidence
from harness.judge.check_result import CheckResult, bound, undecided
from harness.judge.kill_points import drawn_points
from harness.judge.resume_check import judge_resume
from harness.judge.soundness import trajectory_problems
from harness.judge.verdict_inputs import SweepInputs, VerdictInputs

_ORDER = ("DIVERGED", "INCONCLUSIVE", "CERTIFIED", "NOT_CHECKED")


def points_by_name(straight: TrajectoryEvidence | None, seed: str, num: int) -> tuple[dict[str, Fault], int]:
    """The drawn points by the names of their trainings, and how many points there are in all."""
    points, num_possible = drawn_points(straight, seed, num)
    return {f"{SWEPT}{number:03}": point for number, point in enumerate(points, start=1)}, num_possible


def sweep_inputs(
    straight: TrajectoryEvidence | None, seed: str, num: int, trajectories: Mapping[str, TrajectoryEvidence]
) -> SweepInputs | None:
    """What is judged of a sweep of so many points; None for none."""
    points, num_possible = points_by_name(straight, seed, num)
    swept = {name: one for name, one in trajectories.items() if name.startswith(SWEPT)}
    if not num and not swept:
        return None
    return SweepInputs(num_asked=num, points=points, num_possible=num_possible, trajectories=swept)


def judge_point(
    inputs: VerdictInputs,
    straight: TrajectoryEvidence,
    point: Fault,
    trajectory: TrajectoryEvidence,
    rerun: CheckResult,
    problems: tuple[str, ...] = (),
) -> CheckResult:
    """Whether a training that was killed at one point equals the straight one; `problems` are those of others."""
    one = replace(inputs, resumed=trajectory, interruptions=(point,), counts_restarts=True)
    own = trajectory_problems(trajectory, steps=inputs.steps, kills=(point,))
    return judge_resume(one, straight, (*problems, *own), rerun)


def with_sweep(
    inputs: VerdictInputs,
    straight: TrajectoryEvidence,
    resume: CheckResult,
    rerun: CheckResult,
    problems: tuple[str, ...],
) -> CheckResult:
    """The check of resumes with the sweep: what differs first in any of them, else what is missing, is its answer.

    Args:
        inputs: of the whole certify.
        straight: what all are compared with.
        resume: the answer of the declared interruptions.
        rerun: whether the pipeline repeats itself.
        problems: why nothing can be compared with the straight run.
    """
    sweep = inputs.sweep
    if sweep is None:
        return resume
    if not sweep.points or sweep.trajectories.keys() - sweep.points.keys():
        why = "its trainings are not those of the drawn points" if sweep.points else "there is no point to draw"
        return resume if resume.check.verdict == "DIVERGED" else undecided(inputs, "resume", (f"the sweep: {why}",))
    swept = {
        name: judge_point(inputs, straight, point, sweep.trajectories[name], rerun, problems)
        if name in sweep.trajectories
        else undecided(inputs, "resume", (f"{name}, killed at step {point.step}, did not take place",))
        for name, point in sweep.points.items()
    }
    asked = (() if resume.check.verdict == "NOT_CHECKED" else (resume,)) + tuple(swept.values())
    ranked = sorted(asked, key=lambda one: _ORDER.index(one.check.verdict))
    held = [one for one in swept.values() if one.check.verdict == "CERTIFIED"]
    how = f"{len(swept)} kills at points drawn at random, each in a training of its own"
    check = ranked[0].check.model_copy(
        update={
            "how": f"{resume.check.how}; {how}" if resume.check.how else how,
            "compared": sum((one.check.compared for one in asked), Compared()),
            "bound": bound(len(held)) if len(held) == len(swept) else None,
            "resumes": resume.check.resumes,
        }
    )
    return replace(ranked[0], check=check, swept=swept)


def sweep_of(inputs: VerdictInputs, swept: Mapping[str, CheckResult], causes: Mapping[str, str]) -> Sweep | None:
    """What the verdict says of the sweep; `causes` are those that were found, by the names of trainings."""
    if inputs.sweep is None:
        return None
    held = [one for one in swept.values() if one.check.verdict == "CERTIFIED"]
    rows = [(name, point) for name, point in inputs.sweep.points.items() if name in swept]
    not_held = [
        _point(name, point, swept[name], causes.get(name))
        for name, point in rows
        if swept[name].check.verdict != "CERTIFIED"
    ]
    return Sweep(
        num_asked=inputs.sweep.num_asked,
        num_points=len(inputs.sweep.points),
        num_possible=inputs.sweep.num_possible,
        num_held=len(held),
        num_began_again=sum(any(not point.started_after_step for point in one.check.resumes) for one in held),
        bound=bound(len(held)) if swept and len(held) == len(swept) else None,
        not_held=tuple(not_held),
    )


def _point(name: str, point: Fault, result: CheckResult, cause: str | None) -> SweptPoint:
    first = next(iter(result.differences), None)
    return SweptPoint(
        trajectory=name,
        kind=point.kind,
        step=point.step,
        micro_batch=point.micro_batch,
        write=point.write,
        verdict=result.check.verdict,
        reason=result.check.reason,
        resumed_after_step=next((one.started_after_step for one in result.check.resumes), None),
        first_step=None if first is None else first.step,
        stream=None if first is None else first.stream,
        cause=cause,
    )
