"""Divergence: what a diagnosis starts from, and what is shown of it: state at a resume, tensors, layers."""

from __future__ import annotations

from harness.documents.divergence import Divergence
from harness.documents.verdict import CheckName
from harness.judge.check_result import CheckResult, CheckResults
from harness.judge.differing import layers_that_differ, tensors_that_differ
from harness.judge.locate import Location
from harness.judge.ranks import of_rank
from harness.judge.saved_state import saved_state
from harness.judge.symptom import Symptom


def symptom_of(
    results: CheckResults, name: CheckName, result: CheckResult | None, place: Location | None
) -> Symptom | None:
    """What a diagnosis starts from; None where nothing differs, or nobody knows where."""
    if place is None or result is None or result.reference is None or result.trajectory is None:
        return None
    first, rerun = result.differences[0], results["rerun"].check
    return Symptom(
        check=name,
        straight=of_rank(result.reference, first.rank),
        other=of_rank(result.trajectory, first.rank),
        comparison=next(c for c in result.comparisons if c.run == first.run or first.phase == "file"),
        first=first,
        place=place,
        files=result.files,
        rerun_steps=rerun.compared.steps if rerun.verdict == "CERTIFIED" else 0,
    )


def divergence_of(symptom: Symptom) -> Divergence:
    """Everything that was measured around a first difference."""
    tensors, share = tensors_that_differ(symptom)
    return Divergence(state=saved_state(symptom), tensors=tensors, share=share, layers=layers_that_differ(symptom))
