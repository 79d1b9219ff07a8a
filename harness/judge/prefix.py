"""Prefixes: what the evidence of a training that was stopped after N steps can show, and what it cannot."""

from __future__ import annotations

from dataclasses import replace

from harness.evidence.trajectory import RunEvidence, TrajectoryEvidence
from harness.judge.verdict_inputs import VerdictInputs

_WRITES = ("before_write", "in_write", "after_write")


def within(inputs: VerdictInputs) -> VerdictInputs:
    """The inputs with the interruptions that came; those that something else came before are left out.

    A kill at a checkpoint's write comes when one is written, which only the pipeline knows: the prefix may be over
    before. A first difference ends everything, whatever was planned for later.
    """
    if inputs.scope is None or (inputs.resumed is None and inputs.stopped_at is None):
        return inputs
    runs, end = inputs.resumed.runs if inputs.resumed is not None else (), ("stop", inputs.scope.steps)
    num = 0
    for kill, run in zip(inputs.interruptions, runs, strict=False):
        if run.record.was_stopped_early or (kill.kind in _WRITES and _last_fault(run) == end):
            break
        num += 1
    if num == len(runs) and inputs.stopped_at is None:
        return inputs  # a run that should have followed is missing: that is a problem, not a plan
    scope = inputs.scope.model_copy(update={"left_out": (*inputs.interruptions[num:], *inputs.scope.left_out)})
    return replace(inputs, interruptions=inputs.interruptions[:num], scope=scope)


def cut_short(inputs: VerdictInputs, trajectory: TrajectoryEvidence | None) -> str:
    """That a trajectory was stopped before the end of the prefix for a first difference; empty if it was not."""
    at = inputs.stopped_at
    if at is None or trajectory is None or not trajectory.runs:
        return ""
    is_complete = len(trajectory.runs) == len(inputs.interruptions) + 1
    if is_complete and not any(run.record.was_stopped_early for run in trajectory.runs):
        return ""
    return f"{trajectory.name} was stopped: {at.trajectory}/{at.run} differed at step {at.step}"


def unmade(inputs: VerdictInputs) -> tuple[str, ...]:
    """Controls that a prefix can do without: of files where none was written, and those that were stopped."""
    if inputs.scope is None:
        return ()
    files = inputs.straight.files if inputs.straight is not None else ()
    has_tensors = any(file.content is not None and file.content.tensors for file in files)
    stopped = ("flip_param", "flip_optim") if inputs.stopped_at is not None else ()
    names = (*stopped, *(() if has_tensors else ("tensor_bit",)))
    return tuple(name for name in names if name not in {check.name for check in inputs.controls})


def not_run(inputs: VerdictInputs) -> list[str]:
    """What a prefix leaves open."""
    scope = inputs.scope
    if scope is None:
        return []
    lines = [
        f"steps {scope.steps + 1} to {scope.of}: only {scope.text} were run",
        "the outputs, the final state and what a training does at its end: every training was stopped before",
    ]
    lines += [f"the kill {kill.kind} at step {kill.step}: all was over before it" for kill in scope.left_out]
    if (at := inputs.stopped_at) is not None:
        where = f"step {at.step} of {at.trajectory}/{at.run}"
        lines.append(f"everything behind the first difference: what still ran was stopped at {where}")
    lines += [f"the negative control {name}: what it needs was not there, or it was stopped" for name in unmade(inputs)]
    return lines


def _last_fault(run: RunEvidence) -> tuple[object, object] | None:
    faults = [event.fields.get("fault") for event in run.events if event.kind == "fault"]
    last = faults[-1] if faults else None
    return (last.get("kind"), last.get("step")) if isinstance(last, dict) else None
