"""How much of a training is run: all of it, or a prefix, its first N optimizer steps with the schedule of the whole.

The program is not told: it is given the same configuration, and the recorder's fault `stop` ends it after the record
of step N (pipelines/README.md). What it does at its end is therefore not seen, and never claimed.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from harness.documents.document import Model
from harness.documents.experiment import Experiment, Interruption
from harness.documents.run import Fault
from harness.errors import UsageError

_BEFORE_THE_STEP_IS_OVER = ("micro_batch", "before_step")


class Prefix(Model):
    """The first `steps` optimizer steps of a training that has `of` of them.

    `left_out` are planned kills that come later, or come too late to be resumed from; no document has them.
    """

    steps: int
    of: int
    left_out: tuple[Fault, ...] = Field(default=(), exclude=True)

    @property
    def stop(self) -> Fault:
        """What ends every training of the prefix."""
        return Fault(kind="stop", step=self.steps)

    @property
    def text(self) -> str:
        """`the first 20 of 60 steps`."""
        return f"the first {self.steps} of {self.of} steps"


def scope_of(experiment: Experiment, steps: int) -> Prefix:
    """The prefix of an experiment.

    Raises:
        UsageError: it is none, or no interruption that a certificate needs would be left; the smallest number that
            keeps one, and a step after it, is named.
    """
    prefix = prefix_of(experiment, steps)
    kept = _kept(experiment.kills, steps)
    if "resume" in experiment.policy.required and not kept and not experiment.chooses_kills:
        smallest = min(_steps_needed(kill) for kill in experiment.kills)
        problem = f"--steps {steps}: every interruption comes later, and policy.required names resume"
        if smallest >= prefix.of:
            raise UsageError(problem, "leave --steps out: the first interruption needs the whole training")
        remedy = f"give at least --steps {smallest}, which leaves one interruption and a step after it"
        raise UsageError(problem, remedy)
    late = tuple(kill.fault for kill in experiment.kills if kill not in kept)
    return Prefix(steps=steps, of=prefix.of, left_out=late)


def prefix_of(experiment: Experiment, steps: int) -> Prefix:
    """The prefix of one straight training, which nothing interrupts.

    Raises:
        UsageError: the experiment has no such prefix.
    """
    whole = experiment.steps
    if whole is None:
        problem = f"--steps {steps}: the experiment does not say how many steps the whole training has"
        raise UsageError(problem, "declare `steps`; the straight run of a whole certify says how many")
    if not 1 <= steps < whole:
        remedy = f"give a number from 1 to {whole - 1}, or leave it out for all steps" if whole > 1 else "leave it out"
        raise UsageError(f"--steps {steps}: a prefix has at least one step, and fewer than all {whole}", remedy)
    return Prefix(steps=steps, of=whole)


def shortened(experiment: Experiment, scope: Prefix | None) -> Experiment:
    """The experiment as far as it is run; what its commands are given is not changed."""
    if scope is None:
        return experiment
    kept = "auto" if experiment.chooses_kills else _kept(experiment.kills, scope.steps)
    return experiment.model_copy(update={"steps": scope.steps, "interruptions": kept})


def _kept(interruptions: Sequence[Interruption], steps: int) -> tuple[Interruption, ...]:
    return tuple(kill for kill in interruptions if _steps_needed(kill) <= steps)


def _steps_needed(kill: Interruption) -> int:
    """The smallest prefix in which a step follows this kill; a kill within a step is followed by that step."""
    is_within = kill.kind in _BEFORE_THE_STEP_IS_OVER or kill.micro_batch is not None
    return kill.step if is_within else kill.step + 1
