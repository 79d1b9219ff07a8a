"""A cause that was tried out in a copy: confirmed, refuted, or not tried."""

from dataclasses import replace

import pytest

from harness.evidence.ledger import Event
from harness.judge.confirmation import judge_given, judge_switch, piece_of
from harness.judge.operators import compare
from tests.made.synthetic import Quirks, resumed, straight
from tests.unit.judge.test_operators import execution, operator


def tried(given, *, before, piece="rng", step=5):
    """What is said of a resume with the quirk `before` that has the quirk `given` with a piece of state set."""
    left = straight().runs[0]
    plain, other = (resumed(quirks=quirks).runs[1] for quirks in (before, given))
    other = replace(other, events=(*other.events, Event(kind="given", fields={"piece": piece})))
    found = judge_given(piece, left, plain, other, step)
    return found.outcome, found.detail


def test_a_piece_after_which_the_bits_are_the_straight_ones_is_confirmed():
    outcome, detail = tried(Quirks(), before=Quirks(forget=("rng",)))
    assert outcome == "confirmed" and detail.endswith("the resumed process gives the straight run's bits")


def test_a_piece_after_which_the_difference_moves_on_is_confirmed():
    outcome, detail = tried(Quirks(noise=(6, "loss")), before=Quirks(noise=(5, "loss")))
    assert outcome == "confirmed" and detail.endswith("the first difference moves on to step 6, in loss")


def test_a_piece_after_which_the_difference_stays_is_refuted():
    outcome, detail = tried(Quirks(noise=(5, "loss")), before=Quirks(noise=(5, "loss")), piece="optim")
    assert outcome == "refuted" and "the optimizer's state" in detail


def test_a_generator_is_confirmed_by_the_batch_that_is_drawn_after_it_was_given():
    left = straight().runs[0]
    ledger = resumed(quirks=Quirks(noise=(5, "data"))).runs[1].ledger

    def run(*others):
        steps = [
            replace(s, streams={**s.streams, **{k: other for n, k, other in others if n == s.step}})
            for s in ledger.steps
        ]
        event = Event(kind="given", fields={"piece": "rng"})
        return replace(resumed().runs[1], ledger=replace(ledger, steps=tuple(steps)), events=(event,))

    other = next(iter(ledger.steps)).streams["param"]
    plain = run((5, "data", other), (6, "data", other), (6, "rng", other))
    found = judge_given("rng", left, plain, run((5, "data", other)), 5)
    assert found.outcome == "confirmed" and "drawn before, is still another" in found.detail
    assert judge_given("rng", left, plain, run((5, "data", other), (6, "data", other)), 5).outcome == "refuted"


def test_what_could_not_be_set_was_not_tried():
    one, two = straight().runs[0], resumed(quirks=Quirks(noise=(5, "loss"))).runs[1]
    assert judge_given("lr", one, two, two, 5).outcome == "not tried"


@pytest.mark.parametrize(
    ("others", "outcome", "words"),
    [
        ([execution()] * 2, "confirmed", "all 3 executions gave the same bits; before, 1 of 3 differed"),
        ([execution(result="s"), execution()], "refuted", "1 of 3 executions still differ; before, 1 of 3 differed"),
    ],
)
def test_a_switch_is_confirmed_where_reruns_repeat_themselves_under_it(others, outcome, words):
    before = compare(execution(), [execution(result="s"), execution()], is_resume=False)
    found = judge_switch("one_thread", before, execution(), others)
    assert found.outcome == outcome and found.detail == f"under torch.set_num_threads(1) {words}"


def test_the_piece_is_the_stream_that_differs_first_else_what_goes_in():
    batch = compare(execution(), [execution(batch="y", generator="h")], is_resume=True)
    weight = compare(execution(), [execution(weight="v")], is_resume=True)
    rate = [(operator("aten.add_.Tensor", {}, [], arguments=text, phase="update"),) for text in ("0.1", "0.2")]
    assert piece_of(batch, "optim") == "optim"
    assert piece_of(batch, "data") == "rng"
    assert piece_of(weight, "loss") == "param"
    assert piece_of(compare(rate[0], [rate[1]], is_resume=True), "grad") == "lr"
    assert piece_of(compare(execution(), [execution(batch="y")], is_resume=True), "data") is None
