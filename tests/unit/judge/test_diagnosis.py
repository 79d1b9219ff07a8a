"""The cause by name, only where the measurements show it."""

import re
from dataclasses import replace

import numpy as np
import pytest

from harness.evidence.content import read_content
from harness.evidence.ledger import Event
from harness.evidence.trajectory import FileEvidence
from harness.judge.locate import state_tensors
from harness.judge.verdict import judge
from harness.judge.window import with_last_micro_batches
from tests import ROOT
from tests.made.synthetic import NAMES, Quirks, case, resumed, safetensors, straight


def cause(**changes):
    verdict = judge(case(**changes))
    assert verdict.verdict == "DIVERGED", verdict.problems
    return verdict.cause


def said(found):
    return " / ".join(found.evidence)


def test_forgotten_generators_that_were_seeded_anew_are_recognised():
    found = cause(resumed=resumed(quirks=Quirks(forget=("rng",))))
    assert found.kind == "rng_not_restored"
    assert "equals the straight run's state before step 1: the generators were seeded anew" in said(found)
    assert "the first by name is torch" in said(found)
    assert any("batches of that step are equal" in line for line in found.ruled_out)
    assert any("8 steps of a second process are equal" in line for line in found.ruled_out)
    assert "optim, param, buffer and frozen came back bit for bit" in " ".join(found.ruled_out)


def test_forgotten_moments_are_recognised_by_their_absence():
    found = cause(resumed=resumed(quirks=Quirks(forget=("moments",))))
    assert found.kind == "optimizer_state_not_restored"
    assert "the optimizer holds no state at all after the resume" in said(found)


def test_forgotten_weights_that_equal_the_initial_ones_are_recognised():
    found = cause(resumed=resumed(quirks=Quirks(forget=("params",))))
    assert found.kind == "weights_not_restored"
    assert "tensors that are wrong are the initial ones: nothing was loaded" in said(found)


def test_a_replayed_batch_is_found_again_in_the_straight_run():
    found = cause(resumed=resumed(quirks=Quirks(forget=("batch",))))
    assert found.kind == "data_position_not_restored"
    assert "it is the first batch of all of the straight run" in said(found)


def test_a_batch_that_is_drawn_again_from_generators_seeded_anew_is_the_generators_fault():
    found = cause(resumed=resumed(quirks=Quirks(forget=("batch", "rng"))))
    assert found.kind == "rng_not_restored"
    assert "it is the first batch of all of the straight run / so are the generators" in said(found)


def test_an_order_that_comes_again_under_other_generators_is_not_drawn_from_them():
    again = Quirks(period=3)
    found = cause(
        straight=straight(quirks=again),
        rerun=straight("rerun", again),
        resumed=resumed(quirks=Quirks(period=3, forget=("batch", "rng")), first=again),
    )
    assert found.kind == "data_position_not_restored"
    assert "given it again in step 4, with other generators / not restored either: the generator of torch" in said(
        found
    )


def test_an_order_that_nothing_explains_says_so():
    found = cause(resumed=resumed(quirks=Quirks(noise=(5, "data"))))
    assert found.kind == "data_order_not_restored"
    assert "no step of the straight run was given this batch / the recorded generators are equal" in said(found)


def test_an_order_that_differs_later_is_told_as_drawn_later():
    found = cause(resumed=resumed(quirks=Quirks(noise=(6, "data"))))
    assert found.kind == "data_order_not_restored"
    assert "those of steps 5 to 5 are" in said(found) and "an order that is drawn later is not" in said(found)


def test_a_window_that_begins_in_its_middle_is_told_by_its_first_micro_batch():
    found = cause(resumed=resumed(quirks=Quirks(shift=1)))
    assert found.kind == "accumulated_gradients_lost" and "its first micro-batch is number 2" in said(found)


def test_a_window_of_which_the_first_gradients_were_lost_is_told_where_the_straight_run_saved_in_it_too():
    whole, other = straight(), resumed()
    run, number = other.runs[1], 5
    record = replace(whole.runs[0].ledger.steps[number - 1], rng_within={"1": run.ledger.steps[0].streams["rng"]})
    steps = tuple(record if one.step == number else one for one in whole.runs[0].ledger.steps)
    whole = replace(whole, runs=(replace(whole.runs[0], ledger=replace(whole.runs[0].ledger, steps=steps)),))
    half = replace(record, micro_batches=1, rng_within={})
    cut, _ = with_last_micro_batches(
        whole.runs[0], replace(run, ledger=replace(run.ledger, steps=(half, *run.ledger.steps[1:])))
    )
    lost = replace(cut[number - 1], streams={**cut[number - 1].streams, "grad": record.streams["param"]})
    run = replace(run, ledger=replace(run.ledger, steps=(lost, *run.ledger.steps[1:])))
    found = cause(straight=whole, resumed=replace(other, runs=(other.runs[0], run)))
    assert found.kind == "accumulated_gradients_lost" and "its first micro-batch is number 2" in said(found)


def test_what_is_given_with_the_right_batch_is_no_place_in_the_data():
    found = cause(resumed=resumed(quirks=Quirks(noise=(5, "second batch"))))
    assert found.kind == "carried_state_not_restored"
    assert "1.input_ids of that batch: equal to the straight run's" in said(found)


def with_events(trajectory, *events, number=1):
    """Events before all others of one run."""
    run = trajectory.runs[number]
    before = tuple(Event(kind=kind, fields=fields) for kind, fields in events)
    runs = (*trajectory.runs[:number], replace(run, events=(*before, *run.events)), *trajectory.runs[number + 1 :])
    return replace(trajectory, runs=runs)


def state_before(step):
    return state_tensors(straight().runs[0], "step", step, "rng")["torch"].digest


SET, SEED = "torch.set_rng_state", "torch.manual_seed"


@pytest.mark.parametrize(
    ("calls", "kind", "words"),
    [
        (((SET, 5),), "rng_drawn_from_after_the_restore", "gave it the state before step 5 of the straight run"),
        (((SET, 5), (SEED, 1)), "rng_seeded_after_the_restore", "called torch.set_rng_state and torch.manual_seed"),
        (((SEED, 1), (SET, 1)), "rng_of_another_time", "gave it the state before step 1 of the straight run"),
        (((SET, 3),), "rng_of_another_time", "gave it the state before step 3 of the straight run"),
        (((SEED, 1),), "rng_not_restored", "seeded anew"),
        (((SEED, 3), (SET, 2)), "rng_not_restored", "nothing that the recorder saw set or seeded it"),  # put back
        ((), "rng_not_restored", "nothing that the recorder saw set or seeded it"),
    ],
)
def test_what_became_of_a_generator_is_told_by_the_calls_that_set_it(calls, kind, words):
    events = [
        (
            "set_rng" if function == SET else "seed",
            {"function": function, "states": {"torch": state_before(step)}, "before": {"torch": state_before(2)}},
        )
        for function, step in calls
    ]
    found = cause(resumed=with_events(resumed(quirks=Quirks(forget=("rng",))), *events))
    assert found.kind == kind and words in said(found), found


def test_a_set_that_every_process_makes_restores_nothing():
    made = ("set_rng", {"function": SET, "states": {"torch": state_before(2)}})
    trajectory = with_events(resumed(quirks=Quirks(forget=("rng",))), made)
    assert cause(resumed=trajectory).kind != "rng_not_restored"
    found = cause(straight=with_events(straight(), made, number=0), resumed=trajectory)
    assert found.kind == "rng_not_restored" and SET not in said(found)


def setting(name, value, step=1):
    return "setting", {"name": name, "value": value, "step": step}


@pytest.mark.parametrize(
    ("stream", "name", "left", "right", "kind", "words"),
    [
        ("loss", "evaluating", None, {"num": 9, "of": 9, "names": [""]}, "modules_in_another_mode", "9 of 9 modules"),
        ("loss", "switches", {"mkldnn": True}, {"mkldnn": False}, "computed_under_other_settings", "mkldnn at step 5"),
        (
            "optim",
            "clip",
            {"function": "clip_grad_norm_", "limit": (1.0).hex()},
            None,
            "gradients_clipped_otherwise",
            "clip_grad_norm_, 1 in the straight run, not used in the other",
        ),
    ],
)
def test_a_setting_that_differs_is_the_cause_where_a_step_depends_on_it(stream, name, left, right, kind, words):
    other = "switches" if name != "switches" else "clip"
    sides = [
        with_events(side, setting(other, None), setting(name, value), number=number)
        for side, number, value in ((straight(), 0, left), (resumed(quirks=Quirks(noise=(5, stream))), 1, right))
    ]
    found = cause(straight=sides[0], resumed=sides[1])
    assert found.kind == kind and words in said(found), found


@pytest.mark.parametrize("limit", ["zz", "0x1p99999", 3, None])
def test_events_that_nobody_has_to_trust_end_in_words(limit):
    load = ("load_state", {"what": "module", "ok": True, "class": "Linear", "missing": [2, "x", ["y"]]})
    clip = setting("clip", {"function": "clip_grad_norm_", "limit": limit})
    other = setting("switches", {"mkldnn": True})
    quirks = Quirks(noise=(5, "optim"))
    mine = with_events(resumed(quirks=quirks), other, load)
    assert (
        cause(straight=with_events(straight(), other, clip, number=0), resumed=mine).kind
        == "gradients_clipped_otherwise"
    )
    lost = [("attributes", {"step": step, "values": {"rate": value}}) for step, value in ((1, "a"), (5, "zz"))]
    sides = (
        with_events(straight(), *lost, number=0),
        with_events(resumed(quirks=Quirks(noise=(5, "loss"))), ("attributes", {"step": 5, "values": {"rate": "a"}})),
    )
    assert cause(straight=sides[0], resumed=sides[1]).kind == "module_attributes_not_restored"
    assert cause(resumed=with_events(resumed(quirks=Quirks(forget=("params",))), load)).kind == "weights_not_restored"


def test_an_update_that_differs_alone_is_not_known_and_says_what_it_may_be():
    found = cause(resumed=resumed(quirks=Quirks(noise=(5, "optim"))))
    assert found.kind == "unknown" and any("clipped" in one for one in found.candidates)


def test_moments_under_each_others_names_are_told():
    one, two = (f"{name}.exp_avg" for name in NAMES[:2])
    swap = (("optim", one, "x"), ("optim", two, one), ("optim", "x", two))
    found = cause(resumed=resumed(quirks=Quirks(rename_at_start=swap, source="optimizer")))
    assert found.kind == "optimizer_state_permuted" and f"{one} is that of {two}" in said(found)


def test_a_model_with_more_parameters_is_told_also_where_only_the_loss_differs():
    more = Quirks(rename_at_start=(("buffer", "mean", "mean"),), noise=(5, "loss"))
    assert cause(resumed=resumed(quirks=more)).kind != "model_has_other_parameters"
    trajectory = resumed(
        quirks=Quirks(noise=(5, "loss"), rename_at_start=(("param", NAMES[0], "more"),), source="param")
    )
    found = cause(resumed=trajectory)
    assert found.kind == "model_has_other_parameters" and "more ..." in said(found)
    assert "Tie" not in found.fix
    tied = Quirks(noise=(5, "loss"), copy_at_start=(("param", NAMES[0], "head"),), source="param")
    found = cause(resumed=resumed(quirks=tied))
    assert found.kind == "model_has_other_parameters" and f"head begins with what {NAMES[0]} holds" in said(found)
    assert "Tie them again" in found.fix


def test_weights_that_only_one_training_trains_are_told():
    swap = (("param", NAMES[0], "x"), ("frozen", "base", NAMES[0]))
    for quirks in (Quirks(rename_at_start=swap, source="optimizer"), Quirks(without_grad=(NAMES[0],))):
        found = cause(resumed=resumed(quirks=quirks))
        assert found.kind == "trained_otherwise", found
        assert f"only the straight run trains 1 tensors, the first by name is {NAMES[0]}" in said(found)


def test_inputs_that_one_side_alone_recorded_are_no_other_batch():
    found = cause(resumed=resumed(quirks=Quirks(more_inputs=True, without_grad=(NAMES[0],))))
    assert found.kind == "trained_otherwise", found
    found = cause(resumed=resumed(quirks=Quirks(more_inputs=True)))
    assert found.kind == "unknown" and "1 input more is recorded of the resumed step" in said(found), found


@pytest.mark.parametrize(
    ("values", "is_named"),
    [({"drop.p": (0.5).hex(), "size": 3}, True), ({"drop.p": (0.25).hex(), "size": 4}, False), (None, False)],
)
def test_what_a_module_holds_beside_its_state_is_told_if_it_moved_and_was_lost(values, is_named):
    def attributes(step, values):
        return "attributes", {"step": step, "values": values}

    start = attributes(1, {"drop.p": (0.5).hex(), "size": 3})
    events = [attributes(5, values)] if values is not None else []
    found = cause(
        straight=with_events(straight(), start, attributes(5, {"drop.p": (0.25).hex()}), number=0),
        resumed=with_events(resumed(quirks=Quirks(noise=(5, "loss"))), *events),
    )
    assert (found.kind == "module_attributes_not_restored") is is_named, found
    assert not is_named or "drop.p: 0.25 in the straight run, 0.5 in the other" in said(found)


def test_names_that_a_load_left_out_are_told():
    load = ("load_state", {"what": "module", "ok": True, "class": "Linear", "missing": [4, "x", NAMES[0]]})
    found = cause(resumed=with_events(resumed(quirks=Quirks(forget=("params",))), load))
    assert "load_state_dict of Linear: 4 names had no value in it (x ...)" in said(found)


def test_an_order_that_is_drawn_from_a_lost_generator_is_the_generators_fault():
    found = cause(resumed=resumed(quirks=Quirks(noise=(5, "data"), forget=("rng",))))
    assert found.kind == "rng_not_restored"


def test_a_schedule_that_starts_again_names_the_rates():
    found = cause(resumed=resumed(quirks=Quirks(forget=("schedule",))))
    assert found.kind == "scheduler_not_restored"
    assert "the learning rate was 0.25 instead of 0.05" in said(found)
    assert "that is the learning rate of step 1" in said(found)


def test_a_schedule_that_was_loaded_is_not_advised_to_be():
    load = ("load_state", {"what": "scheduler", "ok": True, "class": "StepLR"})
    found = cause(resumed=with_events(resumed(quirks=Quirks(forget=("schedule",))), load))
    assert found.kind == "scheduler_not_restored" and "after scheduler.step()" in found.fix


def test_a_schedule_that_follows_a_metric_was_given_another_one():
    late = Quirks(plateau=99)
    found = cause(
        straight=straight(quirks=late),
        rerun=straight("rerun", late),
        resumed=resumed(quirks=Quirks(plateau=7), first=late),
    )
    assert found.kind == "schedule_follows_another_metric", found


def test_forgotten_buffers_are_recognised():
    assert cause(resumed=resumed(quirks=Quirks(forget=("buffers",)))).kind == "buffers_not_restored"


def test_other_frozen_weights_are_recognised():
    other = Quirks(unseeded=("frozen",))
    changes = {"straight": straight(quirks=other), "rerun": straight("rerun", other)}
    found = cause(**changes, resumed=resumed(first=other, quirks=Quirks(forget=("frozen",))))
    assert found.kind == "frozen_weights_not_restored"


def with_rounded_checkpoints(trajectory):
    """Checkpoints that hold the weights as their names say, in half precision and wide enough to tell."""
    wide = {f"model.{name}": np.linspace(0.1, 0.9, 4, dtype="<f4").astype("<f2") for name in NAMES}
    content = read_content("c.safetensors", safetensors(wide))
    files = tuple(replace(f, content=content, sha256=None) if f.role == "checkpoint" else f for f in trajectory.files)
    return replace(trajectory, files=files)


def test_a_checkpoint_in_half_precision_is_named_as_such():
    rounded = resumed(quirks=Quirks(round_to="<f2"))
    assert cause(resumed=rounded).kind == "weights_not_restored", "nothing in the files shows a loss of precision"
    found = cause(resumed=with_rounded_checkpoints(rounded))
    assert found.kind == "checkpoint_lost_precision"
    assert "is stored as float16; the live tensor is float32" in said(found)


def test_a_checkpoint_that_was_rounded_and_widened_again_is_named_as_such():
    rounded = resumed(quirks=Quirks(round_to="<f2"))
    wide = with_rounded_checkpoints(rounded)
    files = tuple(
        replace(f, content=replace(f.content, tensors=tuple(replace(t, dtype="float32") for t in f.content.tensors)))
        if f.role == "checkpoint"
        else f
        for f in wide.files
    )
    found = cause(resumed=replace(wide, files=files))
    assert found.kind == "checkpoint_lost_precision" and "holds only values that float16 can hold" in said(found)


def test_a_scalers_factor_is_recognised():
    found = cause(resumed=resumed(quirks=Quirks(scale=1024.0)))
    assert found.kind == "scaler_not_restored"
    assert "exactly 1024" in said(found)


def test_a_small_change_of_the_loss_between_two_processes_is_an_operator():
    found = cause(rerun=straight("rerun", Quirks(noise=(3, "loss"))))
    assert found.kind == "nondeterministic_operator" and "forward" in found.title
    assert "data, rng, lr and the parameters before it are equal" in said(found)
    assert "relative difference" in said(found)
    assert "steps 1 to 2 of this run are equal" in found.ruled_out[0]


def test_a_change_of_the_gradients_alone_is_an_operator_of_the_backward_pass():
    found = cause(rerun=straight("rerun", Quirks(noise=(3, "grad"))))
    assert found.kind == "nondeterministic_operator" and "backward" in found.title
    assert "data, rng, lr, loss and the parameters" in said(found)


def test_a_large_change_of_the_loss_with_equal_generators_is_hidden_randomness():
    found = cause(rerun=straight("rerun", Quirks(scale=1.3)))
    assert found.kind == "unseeded_randomness" and "no recorded generator" in found.title


def test_a_change_after_a_resume_is_no_operator_where_the_same_step_repeated():
    found = cause(resumed=resumed(quirks=Quirks(noise=(6, "loss"))))
    assert found.kind == "unknown"
    assert "the same step was computed twice before with equal bits" in said(found)


def test_a_change_after_a_resume_may_be_an_operator_where_no_second_process_got_so_far():
    found = cause(resumed=resumed(quirks=Quirks(noise=(7, "grad"))), rerun=None, rerun_mode="prefix")
    assert found.kind == "nondeterministic_operator"


@pytest.mark.parametrize(("what", "words"), [("weights", "the initial weights"), ("rng", "the generators")])
def test_an_unseeded_start_is_recognised(what, words):
    found = cause(rerun=straight("rerun", Quirks(unseeded=(what,))))
    assert found.kind == "unseeded_randomness" and words in found.title


def test_an_unseeded_order_of_the_data_is_recognised():
    found = cause(rerun=straight("rerun", Quirks(unseeded=("data",))))
    assert found.kind == "unseeded_randomness" and "the data, or their order" in found.title
    assert "the recorded generators are equal at that step" in said(found)


@pytest.mark.parametrize("stream", ["lr", "optim", "param", "buffer"])
def test_what_cannot_be_told_is_called_unknown(stream):
    found = cause(rerun=straight("rerun", Quirks(noise=(3, stream))))
    assert found.kind == "unknown" and f"{stream} is the first stream to differ, at step 3" in said(found)


def test_an_output_that_differs_alone_names_its_keys():
    found = cause(resumed=resumed(quirks=Quirks(saves_rows_twice=True)))
    assert found.kind == "output_differs"
    assert "step=5/host" in said(found) or "step=5#2" in said(found)


def test_an_average_that_differs_alone_is_not_taken_for_a_time():
    trajectory = resumed()
    content = read_content("final.safetensors", safetensors({n: np.ones(2, "<f4") for n in NAMES}))
    files = tuple(replace(f, content=content, sha256=None) if f.role == "output" else f for f in trajectory.files)
    found = cause(resumed=replace(trajectory, files=files))
    assert found.kind == "output_differs" and "tensors that were written" in found.title
    other = safetensors({n: np.full(4, 3, "<f4") for n in NAMES})
    both = [with_average(side, content) for side, content in ((straight(), other), (straight("rerun"), other))]
    mine = with_average(trajectory, safetensors({n: np.full(4, 2, "<f4") for n in NAMES}))
    found = cause(straight=both[0], rerun=both[1], resumed=mine)
    assert found.kind == "average_not_restored"


def with_average(trajectory, data):
    content = read_content("average.safetensors", data)
    file = FileEvidence(path="average.safetensors", role="output", size_bytes=1, sha256=None, content=content)
    return replace(trajectory, files=(*trajectory.files, file))


def test_a_checkpoint_that_was_read_is_quoted():
    trajectory = resumed(quirks=Quirks(forget=("moments",)))
    run = trajectory.runs[1]
    read = replace(run.events[0], kind="restore", fields={"path": "checkpoints/step4.safetensors", "ok": True})
    load = replace(run.events[0], kind="load_state", fields={"what": "module", "ok": True})
    seen = replace(trajectory, runs=(trajectory.runs[0], replace(run, events=(read, load, *run.events))))
    assert "it read checkpoints/step4.safetensors; load_state_dict was called for: module" in said(cause(resumed=seen))


def test_every_cause_has_a_page_of_its_own_no_longer_than_a_screen():
    named = re.compile(r'kind="(\w+)"|kind, title = "(\w+)"|return "(\w+)", "|^    "(\w+_\w+)",$', re.MULTILINE)
    folder = ROOT / "harness" / "judge"
    paths = [*folder.glob("*cause.py"), folder / "diagnosis.py", folder / "crash.py"]
    kinds = {kind for path in paths for found in named.findall(path.read_text()) for kind in found if kind}
    pages = {path.stem: path.read_text() for path in (ROOT / "docs" / "causes").glob("*.md")}
    index = pages.pop("README")
    assert len(kinds) > 30 and kinds <= pages.keys() and all(f"({name}.md)" in index for name in pages)
    for name, page in pages.items():
        parts = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
        assert parts == [name, "How it shows", "Repair", "Thread"] and page.count("\n") < 30
