"""A request: what somebody asked of the harness, and the experiment that it names."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.system.project import experiment_name

if TYPE_CHECKING:
    from harness.documents.experiment import Experiment
    from harness.documents.scope import Prefix
    from harness.runs.runtime import Runner
    from harness.system import engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody asked for.

    Attributes:
        root: the project's checkout.
        name: of the experiment; the path of its file becomes its name.
        runner: `auto` takes containers where an engine can be had, and says when it does not.
        engine: `none` refuses to use or install one.
        allow_dirty: certify an uncommitted tree; the certificate says that it cannot be replayed.
        gpu: which GPUs, by UUID or NVML index, separated by commas; None leaves the choice to the harness.
        python: an interpreter to train with, on the host; it is compared with the image's lock.
        steps: run only so many of every training's steps, and stop at the first difference; None for all.
        continues: go on with the newest certify that was cut off, repeating nothing that it has finished.
        sweep: kill trainings at so many points drawn at random, each in one of its own; None for no sweep.
        overrides: what is set in the experiment for this run, as `config.lr=0.001`.
    """

    root: Path
    name: str
    runner: Runner = "auto"
    engine: engine.Wanted = "auto"
    allow_dirty: bool = False
    gpu: str | None = None
    python: Path | None = None
    steps: int | None = None
    sweep: int | None = None
    overrides: tuple[str, ...] = ()
    continues: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", experiment_name(self.root, self.name))

    def scope(self, experiment: Experiment) -> Prefix | None:
        """The prefix that is asked for, if one is.

        Raises:
            UsageError: the experiment has no such prefix, or it would answer nothing.
        """
        from harness.documents.scope import scope_of

        return None if self.steps is None else scope_of(experiment, self.steps)

    def checked(self, experiment: Experiment) -> Request:
        """The same request with the runner that it implies.

        Raises:
            UsageError: it contradicts itself or the experiment.
        """
        if self.sweep is not None and experiment.resume is None:
            raise UsageError("--sweep kills and resumes, and the experiment has no command `resume`", "declare one")
        if self.sweep is not None and self.steps is not None:
            raise UsageError("--sweep draws from the whole training, and --steps runs a part of it", "leave one out")
        if self.gpu is not None and experiment.gpus == 0:
            raise UsageError(f"--gpu is given, and {self.name} asks for no GPU", "set its key `gpus`, or leave it out")
        if self.continues and self.steps is not None:
            problem = "--continue and --steps are given: of a prefix, no training is kept"
            raise UsageError(problem, "leave one of the two out")
        if self.python is None:
            return self
        if self.runner == "docker":
            problem = "--python is given, and RUNNER=docker: a container has the image's own interpreter"
            raise UsageError(problem, "leave one of the two out (--python, or HARNESS_PYTHON)")
        return dataclasses.replace(self, runner="host")
