"""Whether what a diagnosis named makes the difference: one thing is changed in a copy, and the bits are compared."""

from __future__ import annotations

from collections.abc import Sequence

from harness.documents.diagnosis import Confirmation
from harness.evidence.ledger import STREAMS
from harness.evidence.trajectory import RunEvidence
from harness.judge.operators import Execution, Finding, compare
from harness.judge.symptom import step_of

PIECES = {
    "rng": "the generators",
    "lr": "the learning rates and schedules",
    "optim": "the optimizer's state",
    "param": "the parameters",
    "buffer": "the buffers",
}
SWITCHES = {
    "deterministic": "torch.use_deterministic_algorithms(True)",
    "one_thread": "torch.set_num_threads(1)",
}


def piece_of(finding: Finding, stream: str) -> str | None:
    """The piece of state that a resumed process can be given: the stream that differs first, else what goes in."""
    kinds = [state.partition(" ")[0] for state in finding.states]
    if stream in PIECES:
        return stream
    if "rng" in kinds:
        return "rng"
    if finding.found == "input" and not kinds and finding.operator is not None and finding.operator.phase == "update":
        return "lr"  # a number that an update reads
    return next((kind for kind in kinds if kind in PIECES), None)


def judge_given(piece: str, straight: RunEvidence, resumed: RunEvidence, given: RunEvidence, step: int) -> Confirmation:
    """Whether a resumed process that was given one piece of the straight run's state differs less.

    A batch that was drawn before the piece was given stays another one; then the next step shows whether it was this.

    Args:
        piece: what was given before `step`.
        straight: of the run that is diagnosed, as `resumed` is.
        resumed: the resumed process without it.
        given: with it, up to the step after.
        step: the first that differs.
    """
    what = f"with {PIECES[piece]} of the straight run at the start of step {step}"
    if not any(event.kind == "given" for event in given.events):
        why = next((str(event.fields.get("reason")) for event in given.events if event.kind == "not_given"), "")
        detail = f"{PIECES[piece]} could not be set in the resumed process" + (f": {why[:200]}" if why else "")
        return Confirmation(outcome="not tried", detail=detail)
    before, after = (_differences(straight, run, step) for run in (resumed, given))
    if not after:
        return Confirmation(outcome="confirmed", detail=f"{what} the resumed process gives the straight run's bits")
    if not before or after[0] > before[0]:
        where = f"step {after[0][0]}, in {STREAMS[after[0][1]]}"
        return Confirmation(outcome="confirmed", detail=f"{what} the first difference moves on to {where}")
    gone = [(step + 1, STREAMS.index(stream)) for stream in ("data", "rng")]
    if any(one in before for one in gone) and not any(one in after for one in gone):
        detail = f"{what} the batch of that step, drawn before, is still another; those after it are the straight run's"
        return Confirmation(outcome="confirmed", detail=detail)
    return Confirmation(outcome="refuted", detail=f"{what} the first difference stays: not this, or not alone")


def judge_switch(switch: str, finding: Finding, straight: Execution, others: Sequence[Execution]) -> Confirmation:
    """Whether reruns under a switch repeat themselves."""
    again = compare(straight, others, is_resume=False)
    was = f"before, {finding.differ} of {finding.executions} differed"
    if again.found == "nothing":
        detail = f"under {SWITCHES[switch]} all {again.executions} executions gave the same bits; {was}"
        return Confirmation(outcome="confirmed", detail=detail)
    detail = f"under {SWITCHES[switch]} {again.differ} of {again.executions} executions still differ; {was}"
    return Confirmation(outcome="refuted", detail=detail)


def _differences(straight: RunEvidence, other: RunEvidence, step: int) -> list[tuple[int, int]]:
    """(step, place of the stream in causal order) for what differs in a step and the one after it, in order."""
    found = []
    for number in (step, step + 1):
        one, two = step_of(straight, number), step_of(other, number)
        if one is not None and two is not None:
            found += [
                (number, place)
                for place, stream in enumerate(STREAMS)
                if one.streams.get(stream) != two.streams.get(stream)
            ]
    return found
