"""Repairs: what mends a cause, less what was seen to be there."""

from dataclasses import replace

import pytest

from harness.evidence.ledger import Event
from harness.judge.repair import patch
from harness.judge.verdict import judge
from tests.made.review_data import REVIEW
from tests.made.synthetic import Quirks, case, resumed, straight


def cause(trajectory, **changes):
    return judge(case(resumed=trajectory, **changes)).cause


def with_events(trajectory, *events, number=1):
    run = trajectory.runs[number]
    before = tuple(Event(kind=kind, fields=fields) for kind, fields in events)
    runs = (*trajectory.runs[:number], replace(run, events=(*before, *run.events)), *trajectory.runs[number + 1 :])
    return replace(trajectory, runs=runs)


LOADED = ("load_state", {"what": "optimizer", "ok": True, "class": "AdamW"})
MOMENTS = Quirks(forget=("moments",))


def test_what_the_checkpoint_holds_is_loaded_and_not_saved_again():
    found = cause(resumed(quirks=MOMENTS))
    assert found.patch == '@@ where it is loaded @@\n+optimizer.load_state_dict(checkpoint["optimizer"])'
    assert found.fix == "The checkpoints hold it, and nothing loaded it: load it once everything is built."


def test_what_is_saved_and_loaded_is_not_advised_at_all():
    found = cause(with_events(resumed(quirks=MOMENTS), LOADED))
    assert found.kind == "optimizer_state_not_restored" and not found.patch
    assert "something loaded it: look at what was loaded" in found.fix


def test_what_is_saved_and_came_back_as_it_was_at_the_start_was_not_loaded_whatever_else_was():
    loaded = ("load_state", {"what": "module", "ok": True, "class": "Encoder"})
    found = cause(with_events(resumed(quirks=Quirks(forget=("params",))), loaded))
    assert found.kind == "weights_not_restored" and "and nothing loaded it" in found.fix
    assert found.patch == '@@ where it is loaded @@\n+model.load_state_dict(checkpoint["model"])'


def test_only_the_generators_that_were_lost_are_saved_and_set():
    found = cause(resumed(quirks=Quirks(forget=("rng",))))
    assert found.patch.splitlines() == [
        "@@ where the checkpoint is written @@",
        '+    "torch": torch.get_rng_state(),',
        "@@ last of all before the first batch @@",
        '+torch.set_rng_state(checkpoint["torch"])',
    ]


def test_a_seed_that_comes_too_late_is_moved():
    state = {"torch": "ml128:" + "0" * 32}
    names = {"set_rng": "torch.set_rng_state", "seed": "torch.manual_seed"}
    calls = [(kind, {"function": name, "states": state, "step": 0}) for kind, name in names.items()]
    found = cause(with_events(resumed(quirks=Quirks(forget=("rng",))), *calls))
    assert found.kind == "rng_seeded_after_the_restore"
    assert "-torch.manual_seed(seed)" in found.patch and "+torch.manual_seed(seed)" in found.patch


def test_a_trainer_that_saves_and_loads_by_itself_gets_no_lines_for_it():
    saved = ("save_end", {"path": "checkpoint-4/training_args.bin", "step": 4})
    trained = with_events(straight(), saved, number=0)
    found = cause(resumed(quirks=MOMENTS), straight=trained)
    assert found.patch == "" and "nothing loaded it" in found.fix
    found = cause(resumed(quirks=Quirks(forget=("buffers",))), straight=trained)
    assert found.patch == "" and "look at save_only_model" in found.fix
    found = cause(resumed(quirks=Quirks(forget=("everything",))), straight=trained)
    assert found.kind == "checkpoint_ignored" and "+trainer.train(resume_from_checkpoint=True)" in found.patch


def test_the_line_that_writes_the_checkpoint_is_named_where_the_review_knows_it():
    one = REVIEW.findings[0].model_copy(update={"rule": "REP401", "path": "train.py", "line": 41})
    review = REVIEW.model_copy(update={"findings": (one,), "vetoes": ()})
    found = cause(resumed(quirks=Quirks(forget=("rng",))), review=lambda measured: review)
    assert found.patch.startswith("@@ where the checkpoint is written (train.py:41) @@\n")


@pytest.mark.parametrize(("seeded", "left"), [((), 3), (("torch.manual_seed",), 2)])
def test_only_the_seeds_that_nobody_set_are_advised(seeded, left):
    calls = [("seed", {"function": name, "states": {}, "step": 0}) for name in seeded]
    one = with_events(straight(), *calls, number=0)
    found = judge(case(straight=one, rerun=straight("rerun", Quirks(unseeded=("weights",))))).cause
    assert found.kind == "unseeded_randomness" and found.patch.count("+") == left
    found = judge(case(straight=one, rerun=straight("rerun", Quirks(noise=(3, "data"))))).cause
    assert found.kind == "unseeded_randomness" and not found.patch  # the generators are equal


def test_a_patch_is_a_diff_whose_places_are_words():
    assert patch((("here", ("-a", "+b")), ("there", ("+c",)))) == "@@ here @@\n-a\n+b\n@@ there @@\n+c"
