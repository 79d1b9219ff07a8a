"""Incidental facts: what differed between the trainings that were compared although nothing should hang on it.

What was the same everywhere may be what made them equal: a seed from the host's name is the same on one host.
"""

from __future__ import annotations

from harness.documents.verdict import Incidental
from harness.evidence.trajectory import RunEvidence
from harness.judge.verdict_inputs import VerdictInputs

_NEVER = "the kernel, the user, the number of cores, the network, the date in UTC"


def incidental(inputs: VerdictInputs) -> tuple[Incidental, ...]:
    """The facts of the straight run, and whether every other run had others; runs of an older harness say nothing."""
    others = [run for one in (inputs.rerun, inputs.resumed) if one is not None for run in one.runs]
    if inputs.straight is None or not inputs.straight.runs or not others:
        return ()
    known = _facts(inputs.straight.runs[0])
    return tuple(
        Incidental(name=name, varied=all(_facts(run).get(name, value) != value for run in others), straight=str(value))
        for name, value in sorted(known.items())
    )


def same_everywhere(facts: tuple[Incidental, ...]) -> list[str]:
    """What was the same in all trainings, for what was not checked."""
    if not facts:
        return []
    same = [f"{one.name} ({one.straight})" for one in facts if not one.varied]
    return [f"whether the bits hang on what was the same in all trainings: {', '.join([*same, _NEVER])}"]


def _facts(run: RunEvidence) -> dict[str, object]:
    found = run.record.settings.get("incidental")
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}
