"""The stages of a certify, with the time and disk that each is expected to take; pure."""

from __future__ import annotations

from collections.abc import Mapping

from harness.documents.experiment import Experiment
from harness.documents.plan import Stage
from harness.documents.scope import Prefix


def stages_of(
    experiment: Experiment,
    *,
    trajectories: tuple[str, ...],
    num_parallel: int,
    is_image_cached: bool,
    fetch_bytes: int,
    disk_bytes: int,
    measured: Mapping[str, float],
    num_swept: int = 0,
    scope: Prefix | None = None,
    is_on_host: bool = False,
    python: object = None,
) -> tuple[Stage, ...]:
    """What a certify of this experiment would do, stage by stage.

    Args:
        experiment: what is declared, as far as it is run.
        trajectories: which are run.
        num_parallel: how many runs go side by side.
        is_image_cached: whether the image is built already.
        fetch_bytes: what an image that is not would fetch.
        disk_bytes: what building it needs at its worst moment.
        measured: seconds of each stage when it last ran here, with all steps.
        num_swept: how many more trainings are killed at a drawn point.
        scope: which prefix is run; None for the whole training.
        is_on_host: whether trainings run without containers.
        python: the interpreter that was given for them, if one was.
    """
    kills = ", ".join(f"{kill.words} ({kill.by})" for kill in experiment.kills)
    kills = "up to 4, chosen from the straight run" if experiment.chooses_kills else kills
    num_kills = 4 if experiment.chooses_kills else len(experiment.kills)
    num_runs = sum(num_kills + 1 if trajectory == "resumed" else 1 for trajectory in trajectories)
    image = "cached" if is_image_cached else f"fetch {fetch_bytes / 1e6:,.0f} MB, build twice, compare the ids"
    if "rebuild" not in experiment.policy.required and not is_image_cached:
        image = f"fetch {fetch_bytes / 1e6:,.0f} MB, build"
    lock = f"lockfiles/{experiment.image}.lock"
    made = f"a virtual environment from {lock}" if python is None else f"{python}, compared with {lock}"
    stages = [
        Stage(name="python", detail=made, seconds=measured.get("environment"))
        if is_on_host
        else Stage(
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
    detail += f"; sweep: {num_swept} trainings more, each killed once at a drawn point" if num_swept else ""
    if scope is None:
        stages.append(Stage(name="runs", detail=detail, seconds=None if num_swept else measured.get("runs")))
    else:
        took = f"; with all {scope.of} it took {measured['runs']:.0f} s" if "runs" in measured else ""
        detail += f"; PREFIX: {scope.text}, stopped at the first difference{took}"
        stages.append(Stage(name="runs", detail=detail, seconds=None))
    stages.append(
        Stage(name="judge", detail="compare bit for bit, write verdict and report", seconds=measured.get("judge"))
    )
    return tuple(stages)
