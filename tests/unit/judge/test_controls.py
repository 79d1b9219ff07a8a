from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.documents.run import Fault
from harness.judge import controls
from harness.judge.controls import (
    check_ledger_digit,
    check_tensor_bit,
    check_weights_moved,
    judge_flip_optim,
    judge_flip_param,
)
from tests.made.synthetic import NAMES, Quirks, resumed, safetensors, straight

GOLDEN = Path(__file__).parents[2] / "golden" / "torch"
STOP = Fault(kind="stop", step=6)


@pytest.mark.parametrize(
    "name",
    [
        "tensors.safetensors",
        "tensors.pt",
        "checkpoint.pt",
        "legacy.bin",
        "pickled.ckpt",
        "nocrc.pt",
        "parts.distcp",
        "scripted.model",
        "odd.pth.tar",
        "bare.pt",
    ],
)
def test_one_bit_of_a_real_file_is_found(name):
    check = check_tensor_bit(name, (GOLDEN / name).read_bytes())
    assert check.detected, check.detail
    assert check.name == "tensor_bit" and name in check.detail


def test_one_bit_of_a_tensor_that_is_not_contiguous_is_found(monkeypatch):
    data = (GOLDEN / "tensors.pt").read_bytes()
    names = ("strided", "transposed", "tail", "expanded")
    raw = controls.open_file("t.pt", data)
    strided = replace(raw, tensors=tuple(tensor for tensor in raw.tensors if tensor.name in names))
    monkeypatch.setattr(controls, "open_file", lambda *_: strided)
    check = check_tensor_bit("t.pt", data)
    assert check.detected and any(name in check.detail for name in names)


@pytest.mark.parametrize(
    ("name", "data"), [("m.safetensors", safetensors({})), ("m.safetensors", b"torn"), ("m.txt", b"x"), ("m.pt", b"")]
)
def test_a_file_without_a_bit_to_change_is_no_control(name, data):
    assert not check_tensor_bit(name, data).detected


def test_a_comparison_that_sees_nothing_is_caught(monkeypatch):
    """The control is worth something: blind the digest, and it says so."""
    honest = controls.read_content
    data = safetensors({"w": np.ones(3, dtype="<f4")})
    monkeypatch.setattr(controls, "read_content", lambda path, _: honest(path, data))
    check = check_tensor_bit("m.safetensors", data)
    # The bytes differ, and only the file's sha256 shows it: the tensor is not named.
    assert not check.detected and "was not found" in check.detail


def test_a_changed_digit_breaks_the_chain_and_is_found_under_a_new_one():
    check = check_ledger_digit(straight())
    assert check.detected, check.detail
    assert "step 5 in param: the chain breaks" in check.detail and "finds it there" in check.detail


def test_a_chain_that_nobody_checks_is_caught(monkeypatch):
    trajectory = straight()
    whole = trajectory.runs[0].ledger
    monkeypatch.setattr(controls, "parse_ledger", lambda data, name: whole)
    check = check_ledger_digit(trajectory)
    assert not check.detected and "DOES NOT break" in check.detail and "DOES NOT find" in check.detail


def test_a_trajectory_without_a_ledger_is_no_control():
    trajectory = straight()
    bare = replace(trajectory, runs=(replace(trajectory.runs[0], ledger=None),))
    assert not check_ledger_digit(bare).detected
    assert not check_weights_moved(bare).detected


def test_weights_that_moved_are_seen_and_weights_that_did_not_too():
    assert check_weights_moved(straight()).detected
    still = check_weights_moved(straight(quirks=Quirks(learning=0.0)))
    assert not still.detected and still.detail.startswith("0 of 3 trainable tensors changed")


def test_weights_are_counted_tensor_by_tensor():
    assert check_weights_moved(straight()).detail == "3 of 3 trainable tensors changed by step 8"
    one = check_weights_moved(straight(quirks=Quirks(still=NAMES[:2])))
    assert one.detected and one.detail == "1 of 3 trainable tensors changed by step 8"


def test_without_the_digests_of_single_tensors_the_roots_tell_whether_weights_moved():
    trajectory = straight()
    bare = replace(trajectory, runs=(replace(trajectory.runs[0], sidecar=None),))
    assert check_weights_moved(bare).detected and "which of the 3" in check_weights_moved(bare).detail


def test_a_training_without_parameters_moves_nothing():
    trajectory = straight()
    ledger = trajectory.runs[0].ledger
    empty = replace(ledger, start=replace(ledger.start, counts={**ledger.start.counts, "param": 0}))
    assert not check_weights_moved(replace(trajectory, runs=(replace(trajectory.runs[0], ledger=empty),))).detected


def flipped(step=3, **quirks):
    return straight("control-param", Quirks(flip_param=step, **quirks), kill=Fault(kind="stop", step=5))


def test_a_flipped_parameter_is_found_at_its_step_and_nowhere_before():
    check = judge_flip_param(straight(), flipped(), 3)
    assert check.detected
    assert check.detail == "flipped after step 3, first found at step 3 in param (layers.0.weight)"


def test_a_flip_that_is_found_at_another_step_is_no_success():
    assert not judge_flip_param(straight(), flipped(), 4).detected
    early = judge_flip_param(straight(), flipped(noise=(2, "loss")), 3)
    assert not early.detected and "step 2 in loss" in early.detail


def test_a_flip_may_show_in_optimizer_state_that_shares_the_memory_of_the_parameter():
    check = judge_flip_param(straight(), flipped(noise=(3, "optim")), 3)
    assert check.detected and "step 3 in optim" in check.detail


def test_a_flip_before_the_other_optimizers_of_a_step_may_show_in_what_that_step_computes():
    early = flipped(noise=(3, "loss"))
    assert not judge_flip_param(straight(), early, 3).detected
    assert judge_flip_param(straight(), within_step(early), 3).detected
    assert not judge_flip_param(straight(), within_step(flipped(noise=(2, "loss"))), 3).detected


def within_step(trajectory):
    run = trajectory.runs[0]
    events = [
        replace(event, fields={**event.fields, "within_step": True}) if event.kind == "fault" else event
        for event in run.events
    ]
    return replace(trajectory, runs=(replace(run, events=tuple(events)),))


def test_a_flip_that_is_not_found_is_caught():
    control_run = flipped()
    equal = straight("control-param", kill=Fault(kind="stop", step=5))
    run = replace(equal.runs[0], events=control_run.runs[0].events)
    check = judge_flip_param(straight(), replace(equal, runs=(run,)), 3)
    assert not check.detected and "NOT found" in check.detail


def test_a_control_whose_flip_never_took_place_shows_nothing():
    check = judge_flip_param(straight(), straight("control-param", kill=Fault(kind="stop", step=5)), 3)
    assert not check.detected and "no bit was flipped" in check.detail


@pytest.mark.parametrize(
    "change", [{"exit_code": 1, "killed_by": None}, {"oom_killed": True}, {"error": "the engine stopped answering"}]
)
def test_a_control_that_did_not_run_as_planned_shows_nothing(change):
    trajectory = flipped()
    run = replace(trajectory.runs[0], record=trajectory.runs[0].record.model_copy(update=change))
    check = judge_flip_param(straight(), replace(trajectory, runs=(run,)), 3)
    assert not check.detected and "did not run as planned" in check.detail
    assert not judge_flip_param(straight(), replace(trajectory, runs=()), 3).detected


def changed_moment(**quirks):
    return resumed(quirks=Quirks(flip_optim=True, **quirks), last_kill=STOP, name="control-optim")


def test_a_changed_moment_is_found_after_the_restore_and_in_its_step():
    check = judge_flip_optim(straight(), changed_moment())
    assert check.detected, check.detail
    assert check.detail == (
        "changed in the state restored before step 5 (layers.0.weight.exp_avg): found there, "
        "and in that step in optim, param"
    )


def test_a_changed_moment_that_nothing_notices_is_caught():
    quiet = resumed(last_kill=STOP, name="control-optim")
    run = replace(quiet.runs[1], events=changed_moment().runs[1].events)
    check = judge_flip_optim(straight(), replace(quiet, runs=(quiet.runs[0], run)))
    assert not check.detected and "NOT found there" in check.detail and "NOT in that step" in check.detail


def test_a_pipeline_with_another_mistake_still_shows_the_changed_moment():
    assert judge_flip_optim(straight(), changed_moment(forget=("rng",))).detected


def test_a_difference_in_another_tensor_than_the_changed_one_is_no_success():
    trajectory = changed_moment()
    run = trajectory.runs[1]
    events = tuple(
        replace(e, fields={**e.fields, "tensor": "layers.2.weight.exp_avg"}) if "tensor" in e.fields else e
        for e in run.events
    )
    check = judge_flip_optim(straight(), replace(trajectory, runs=(trajectory.runs[0], replace(run, events=events))))
    assert not check.detected and "different: optim.layers.0.weight.exp_avg" in check.detail


def test_a_resume_control_without_its_resume_shows_nothing():
    trajectory = changed_moment()
    assert not judge_flip_optim(straight(), replace(trajectory, runs=trajectory.runs[:1])).detected
