"""Problems: every reason why something cannot be certified, in words, the one that matters most first."""

from __future__ import annotations

import math

from harness.documents.verdict import ControlResult, Review, Testimony
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.check_result import CheckResults
from harness.judge.controls import CONTROLS
from harness.judge.prefix import unmade
from harness.judge.soundness import gpu_problems
from harness.judge.verdict_inputs import VerdictInputs


def review_problems(review: Review | None, others: tuple[str, ...], *, has_run: bool) -> tuple[str, ...]:
    """Everything against a certificate: vetoes first, then `others`, then what could not be told of V1 to V5.

    Seeds, checkpoints and resumes (V1, V2, V5) cannot be told where a run failed: that is no second problem. Where a
    veto kept the runs from taking place, that they did not is none either.
    """
    if review is None:
        return others
    if review.vetoes and not has_run:
        return review.vetoes
    undecided = [text for text in review.undecided if not others or text.startswith(("V3", "V4"))]
    return (*review.vetoes, *others, *undecided)


def control_problems(inputs: VerdictInputs, controls: tuple[ControlResult, ...]) -> tuple[str, ...]:
    """Controls that were not detected, and those that a certify needs and did not make."""
    needed = CONTROLS if inputs.replay is None else ()
    left_out = {*unmade(inputs), *(() if inputs.interruptions else ("flip_optim",)), *(one.name for one in controls)}
    is_live_detected = any(one.detected for one in controls if one.name in ("flip_param", "flip_optim"))
    passed = [
        f"negative control {one.name} {'was not detected' if one.made else 'could not be made'}: {one.detail}"
        for one in controls
        if not one.detected and (one.made or not is_live_detected)
    ]
    missing = [
        f"negative control {name} was not made: nobody knows whether the comparison can fail"
        for name in needed
        if name not in left_out
    ]
    return (*passed, *missing)


def all_problems(
    inputs: VerdictInputs,
    results: CheckResults,
    blind_spots: tuple[str, ...],
    testimony: Testimony,
    unread: tuple[str, ...],
) -> tuple[str, ...]:
    """Every reason why this cannot be certified, apart from a divergence and the review."""
    found = [*inputs.failures]
    found += nan_problems(inputs.straight) if inputs.straight is not None else ()
    for name, one in results.items():
        found += one.problems
        # Why a replay did not take place stands in its problems.
        if one.check.required and one.check.verdict == "NOT_CHECKED" and name != "replay":
            found.append(f"{name} is required and was not checked: {one.check.reason}")
    if inputs.straight is None:
        return tuple(found)
    found += blind_spots
    if inputs.stopped_at is not None and not any(
        result.check.verdict == "DIVERGED" for name, result in results.items() if name != "rebuild"
    ):
        at = inputs.stopped_at
        found.append(f"every training was stopped at step {at.step} of {at.trajectory}/{at.run}, which differed there")
    found += gpu_problems(inputs.straight, len(inputs.gpus))
    found += unread
    found += _testimony_problems(inputs, testimony)
    return tuple(found)


def _testimony_problems(inputs: VerdictInputs, testimony: Testimony) -> tuple[str, ...]:
    """Outputs of which no tensor at all is in a state: then the ledger says nothing of what is published."""
    total, first = testimony.tensors_on_disk, testimony.missing[:1]
    if not first:
        return ()
    if inputs.scope is not None:
        num = total - testimony.found_in_ledger
        return (f"{num} of {total} tensors of the checkpoints are in no recorded state: {first[0]}",)
    if testimony.found_in_ledger or testimony.in_checkpoints or testimony.derived == total:
        return ()
    what = f"none of the {total} tensors of the outputs is in a recorded state or in a checkpoint: {first[0]}"
    return (f"{what}; if they are computed from the weights (an average, an export), name their files under `derived`",)


def nan_problems(straight: TrajectoryEvidence) -> tuple[str, ...]:
    """Whether the loss became NaN and stayed it: what computes nothing gives the same bits each time."""
    ledger = straight.runs[0].ledger if straight.runs else None
    first = None
    for record in ledger.steps if ledger is not None else ():
        if not record.loss:
            continue
        if not all(math.isnan(float.fromhex(text)) for text in record.loss):
            first = None
        elif first is None:
            first = record.step
    return (f"straight: the loss is NaN from step {first} on: nothing is trained",) if first is not None else ()
