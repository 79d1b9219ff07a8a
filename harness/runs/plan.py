"""The plan: what a certify would do, with the time and disk it expects; made before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.documents.experiment import Experiment
from harness.documents.scope import Prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage. `seconds` is what it took here the last time, or None where it was never measured here."""

    name: str
    detail: str
    seconds: float | None
    disk_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The stages in their order."""

    experiment: str
    runner: str
    stages: tuple[Stage, ...]

    @property
    def seconds(self) -> float | None:
        """What all stages took together, or None if one was never measured."""
        known = [stage.seconds for stage in self.stages]
        return None if any(value is None for value in known) else sum(value for value in known if value is not None)


def make_plan(
    *,
    name: str,
    experiment: Experiment,
    runner: str,
    trajectories: tuple[str, ...],
    num_parallel: int,
    is_image_cached: bool,
    fetch_bytes: int,
    disk_bytes: int,
    measured: Mapping[str, float],
    scope: Prefix | None = None,
) -> Plan:
    """What a certify of this experiment would do.

    Args:
        name: of the experiment.
        experiment: what is declared, as far as it is run.
        runner: `docker` or `host`.
        trajectories: which are run.
        num_parallel: how many runs go side by side.
        is_image_cached: whether the image is built already.
        fetch_bytes: what an image that is not would fetch.
        disk_bytes: what building it needs at its worst moment.
        measured: seconds of each stage when it last ran here, with all steps.
        scope: which prefix is run; None for the whole training.
    """
    kills = ", ".join(f"{kill.words} ({kill.by})" for kill in experiment.kills)
    kills = "up to 4, chosen from the straight run" if experiment.chooses_kills else kills
    num_kills = 4 if experiment.chooses_kills else len(experiment.kills)
    num_runs = sum(num_kills + 1 if trajectory == "resumed" else 1 for trajectory in trajectories)
    image = "cached" if is_image_cached else f"fetch {fetch_bytes / 1e6:,.0f} MB, build twice, compare the ids"
    if "rebuild" not in experiment.policy.required and not is_image_cached:
        image = f"fetch {fetch_bytes / 1e6:,.0f} MB, build"
    stages = [
        Stage(
            name="image",
            detail=f"{experiment.image}: {image}",
            seconds=1.0 if is_image_cached else measured.get("image"),
            disk_bytes=0 if is_image_cached else disk_bytes,
        ),
        Stage(name="inputs", detail=", ".join(sorted(experiment.inputs)) or "none", seconds=measured.get("inputs")),
    ]
    if experiment.prepare:
        detail = "convert the inputs twice, compare, keep"
        stages.append(Stage(name="prepare", detail=detail, seconds=measured.get("prepare")))
    steps = f"{experiment.steps} steps each" if experiment.steps else "as many steps each as the straight run has"
    runs = f"{num_runs} runs of {', '.join(trajectories)}; {num_parallel} side by side; {steps}"
    detail = f"{runs}; kills: {kills or 'none'}"
    if scope is None:
        stages.append(Stage(name="runs", detail=detail, seconds=measured.get("runs")))
    else:
        took = f"; with all {scope.of} it took {measured['runs']:.0f} s" if "runs" in measured else ""
        detail += f"; PREFIX: {scope.text}, stopped at the first difference{took}"
        stages.append(Stage(name="runs", detail=detail, seconds=None))
    stages.append(
        Stage(name="judge", detail="compare bit for bit, write verdict and report", seconds=measured.get("judge"))
    )
    return Plan(experiment=name, runner=runner, stages=tuple(stages))


def render_plan(plan: Plan) -> str:
    """The plan as plain text."""
    lines = [f"certify {plan.experiment} with the {plan.runner} runner would:"]
    for stage in plan.stages:
        time = f"{stage.seconds:.0f} s" if stage.seconds is not None else "not measured here yet"
        disk = f", {stage.disk_bytes / 1e9:.1f} GB of disk" if stage.disk_bytes else ""
        lines.append(f"  {stage.name:<8} {stage.detail}  [{time}{disk}]")
    total = plan.seconds
    lines.append(f"  together {total:.0f} s" if total is not None else "  time is known once it ran here")
    return "\n".join(lines)
