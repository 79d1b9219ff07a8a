"""The operators of a step, as the recorder notes them: what they are part of, what goes in, and no bit moved."""

import shutil

import pytest

from tests.unit.recorder.comparison import content
from tests.unit.recorder.conftest import CONFIG, LOOP

FROM_SIX = ({"kind": "operators", "step": 6}, {"kind": "stop", "step": 7})


def test_the_operators_of_steps_are_noted_and_no_bit_moves(straight, new_trajectory):
    run = new_trajectory().train(LOOP, CONFIG, faults=FROM_SIX)
    assert {n: content(r) for n, r in run.steps().items()} == {
        n: content(r) for n, r in straight[1].steps().items() if n < 8
    }
    assert run.events("recorder_error") == [] and not (straight[1].folder / "operators.jsonl").exists()
    rows = run.lines("operators.jsonl")
    assert {row["step"] for row in rows} == {6, 7}
    step = [row for row in rows if row["step"] == 6]
    named = {(row["name"], row["phase"], row["module"]) for row in step}
    assert named >= {
        ("aten.addmm.default", "forward", "0"),
        ("aten.gelu.default", "forward", "1"),
        ("aten.gelu_backward.default", "backward", "1"),
        ("aten.nll_loss_backward.default", "backward", "CrossEntropyLoss"),
        ("aten.add_.Tensor", "backward", "0.weight"),
        ("aten.addcdiv_.default", "update", ""),
    }
    assert {row["line"].rpartition("/")[2].partition(":")[0] for row in step} == {LOOP.name, ""}
    first, drawn = step[0], next(row for row in step if row["name"] == "aten.bernoulli_.float")
    assert [one[3] for one in first["inputs"]] == [["param", "0.bias"], ["data", "1.0"], ["param", "0.weight"]]
    assert [one[3] for one in drawn["inputs"]] == [["rng", "torch"]]
    sources = [one[3] for row in step for one in row["inputs"]]
    assert ["optim", "0.weight.step"] in sources and ["optim", "3.bias.exp_avg"] in sources
    tensors = {name: digest for name, (_, _, digest) in run.tensors(6, "step", "data").items()}
    assert first["inputs"][1][2] == tensors["1.0"]


def test_a_resumed_step_has_the_operators_of_the_straight_one(new_trajectory):
    straight, resumed = new_trajectory(), new_trajectory()
    wanted = ({"kind": "operators", "step": 5}, {"kind": "stop", "step": 5})
    one = straight.train(LOOP, CONFIG, faults=wanted).lines("operators.jsonl")
    resumed.train(LOOP, CONFIG, faults=({"kind": "stop", "step": 5},))
    two = resumed.train(LOOP, CONFIG, "--resume", faults=wanted).lines("operators.jsonl")
    assert one == two and len(one) > 50


@pytest.mark.parametrize("piece", ["rng", "lr", "optim", "param"])
def test_a_process_is_given_a_piece_of_another_ones_state(piece, new_trajectory):
    """Two trainings of other seeds: at the start of step 5 the second is given what the first had then."""
    first, second = new_trajectory(), new_trajectory()
    kept = first.train(LOOP, CONFIG, faults=({"kind": "keep_state", "step": 5}, {"kind": "stop", "step": 5}))
    config = {**CONFIG, "seed": 4, "lr": 0.02}
    second.train(LOOP, config, faults=({"kind": "stop", "step": 2},))
    shutil.copy(kept.folder / "state.pt", second.folder / "runs" / "1" / "given.pt")
    run = second.train(LOOP, config, "--resume", faults=({"kind": f"give_{piece}", "step": 5}, FROM_SIX[1]))
    assert [event["piece"] for event in run.events("given")] == [piece]
    assert run.events("recorder_error") == [] and max(run.steps()) == 7
    if piece in ("rng", "lr"):
        assert run.steps()[5]["streams"][piece] == kept.steps()[5]["streams"][piece]
    else:
        assert run.tensors(5, "before", piece) == kept.tensors(4, "step", piece)


def test_a_piece_that_cannot_be_given_is_told_and_the_recording_goes_on(new_trajectory):
    run = new_trajectory().train(LOOP, CONFIG, faults=({"kind": "give_rng", "step": 2}, FROM_SIX[1]))
    assert [event["reason"].partition(":")[0] for event in run.events("not_given")] == ["FileNotFoundError"]
    assert run.events("given") == [] and max(run.steps()) == 7


def test_a_switch_is_turned_on_before_the_first_forward(new_trajectory):
    faults = ({"kind": "set_deterministic", "step": 1}, {"kind": "set_one_thread", "step": 1}, FROM_SIX[1])
    run = new_trajectory().train(LOOP, CONFIG, faults=faults)
    assert [event["piece"] for event in run.events("given")] == ["deterministic", "one_thread"]
    (switches,) = [event["value"] for event in run.events("setting") if event["name"] == "switches"]
    assert (switches["deterministic_algorithms"], switches["threads"]) == (True, 1)
