"""What may stop all runs while they run: what the comparison will call a difference, and nothing else."""

import json

import pytest

from harness.evidence.ledger import STREAMS, parse_ledger
from harness.judge.diff import compare_steps
from harness.judge.first_difference import differs
from tests.made.synthetic import Files, Process, Quirks, chain, start_state

SOUND = Quirks()


def ledger(quirks=SOUND):
    process = Process(Files(), quirks)
    process.train(start_state(quirks))
    return process


def steps(process):
    return {row["step"]: row for row in process.ledger if row["kind"] == "step"}


def test_equal_steps_do_not_differ():
    one, two = steps(ledger()), steps(ledger())
    assert not any(differs(one[step], two[step]) for step in one)


@pytest.mark.parametrize("stream", [name for name in STREAMS if name != "rng"])
def test_a_difference_in_any_stream_is_seen_at_its_step(stream):
    one, two = steps(ledger()), steps(ledger(Quirks(noise=(3, stream))))
    assert next(step for step in one if differs(one[step], two[step])) == 3


@pytest.mark.parametrize(
    ("stream", "field", "value"),
    [("data", "micro_batches", 3), ("loss", "loss", ["0x1p+0"]), ("lr", "lr", []), ("optim", "skipped", True)],
)
def test_the_numbers_beside_a_stream_count_where_both_saw_it(stream, field, value):
    row = steps(ledger())[3]
    assert differs(row, {**row, field: value})
    unseen = {name: root for name, root in row["streams"].items() if name != stream}
    assert not differs(row, {**row, field: value, "streams": unseen})


def test_generators_alone_stop_nothing():
    # One that nothing draws from may have another state; at its end the comparison knows.
    one, two = steps(ledger()), steps(ledger(Quirks(unseeded=("python",))))
    assert one[1]["streams"]["rng"] != two[1]["streams"]["rng"]
    assert not any(differs(one[step], two[step]) for step in one)


@pytest.mark.parametrize("rubbish", [{}, {"streams": 3}, {"streams": [1]}, {"streams": {}}, {"streams": None}])
def test_what_is_no_record_is_no_difference(rubbish):
    row = steps(ledger())[1]
    assert not differs(row, rubbish) and not differs(rubbish, row)


def test_whatever_stops_the_runs_is_a_difference_of_the_comparison_too():
    parsed = [parse_ledger(chain(one.ledger), "x") for one in (ledger(), ledger(Quirks(noise=(5, "grad"))))]
    found, _, _ = compare_steps(parsed[0].steps, parsed[1].steps)
    assert (found[0].step, found[0].stream) == (5, "grad")
    rows = [json.loads(json.dumps(steps(one)[5])) for one in (ledger(), ledger(Quirks(noise=(5, "grad"))))]
    assert differs(*rows)
