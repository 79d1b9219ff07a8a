"""What is shown of a divergence: saved against restored, the first tensors, the layers."""

from dataclasses import replace

import numpy as np
import pytest

from harness.documents.divergence import Share
from harness.evidence.content import read_content
from harness.evidence.trajectory import FileEvidence
from harness.judge.differing import MAX_ROWS, _groups
from harness.judge.locate import natural_key
from harness.judge.verdict import judge
from tests.made.synthetic import NAMES, Quirks, case, resumed, straight


def shown(**changes):
    verdict = judge(case(**changes))
    assert verdict.verdict == "DIVERGED", verdict.problems
    return verdict.divergence


def rows(**changes):
    return {row.piece: row for row in shown(resumed=resumed(**changes)).state.rows}


def share(num, of):
    return Share(num=num, of=of)


def test_nothing_is_shown_of_a_certified_training():
    document = judge(case()).to_json()
    assert "divergence" not in document


def test_a_state_that_came_back_is_told_with_its_step_and_file():
    found = shown(resumed=resumed(quirks=Quirks(forget=("rng",)))).state
    assert (found.run, found.after_step, found.file_step) == (2, 4, 4)
    weights = next(row for row in found.rows if row.piece == "weights")
    num = len(NAMES)
    assert (weights.in_file, weights.live, weights.after_step) == (share(num, num), share(num, num), 4)


@pytest.mark.parametrize(
    ("forgotten", "piece", "in_file", "after_step"),
    [
        ("params", "weights", share(len(NAMES), len(NAMES)), 0),
        ("moments", "optimizer", share(len(NAMES), len(NAMES)), None),
        ("buffers", "buffers", share(0, 1), 0),
        ("rng", "torch's generator", share(0, 1), 0),
        ("schedule", "schedule", share(0, 1), 0),
        ("batch", "place in the data", None, 0),
    ],
)
def test_each_piece_that_was_lost_is_told_as_of_which_step_it_is(forgotten, piece, in_file, after_step):
    found = rows(quirks=Quirks(forget=(forgotten,)))
    assert not found[piece].live.is_whole and found[piece].in_file == in_file
    assert found[piece].after_step == after_step
    others = [row for name, row in found.items() if name not in (piece, "rates and hyperparameters")]
    assert all(row.live.is_whole and row.after_step == 4 for row in others)


def test_without_a_checkpoint_of_that_step_a_later_one_of_the_straight_run_is_looked_into():
    trajectory = resumed(quirks=Quirks(forget=("rng",)))
    kept = tuple(file for file in trajectory.files if file.role == "output")
    case_ = case(resumed=type(trajectory)(name=trajectory.name, runs=trajectory.runs, files=kept))
    one = case_.straight
    later = tuple(file for file in one.files if file.role == "output" or file.path.endswith("step8.safetensors"))
    state = judge(case(resumed=case_.resumed, straight=type(one)(name=one.name, runs=one.runs, files=later)))
    assert state.divergence.state.file_step == 8
    assert next(row for row in state.divergence.state.rows if row.piece == "optimizer").in_file.is_whole


def test_a_checkpoint_that_nobody_saw_being_written_is_found_by_the_weights_in_it():
    trajectory = resumed(quirks=Quirks(forget=("rng",)))
    unseen = [replace(run, events=tuple(e for e in run.events if "save" not in e.kind)) for run in trajectory.runs]
    state = shown(resumed=replace(trajectory, runs=tuple(unseen))).state
    assert (state.file, state.file_step) == ("checkpoints/step4.safetensors", 4)


def test_a_rerun_has_no_table_of_state_and_its_tensors_by_name():
    found = shown(rerun=straight("rerun", Quirks(noise=(3, "grad"))))
    assert found.state is None and found.share == share(len(NAMES), len(NAMES))
    assert [one.name for one in found.tensors] == sorted(NAMES, key=natural_key)
    assert all(one.dtype == "float32" and one.shape == (4,) and one.straight != one.other for one in found.tensors)


def test_losses_and_rates_are_shown_as_numbers_with_their_distance():
    loss = shown(resumed=resumed(quirks=Quirks(noise=(6, "loss")))).tensors[0]
    assert float(loss.other) - float(loss.straight) == pytest.approx(loss.apart, rel=0.01) and loss.apart > 0
    rate = next(one for one in shown(resumed=resumed(quirks=Quirks(forget=("schedule",)))).tensors if one.apart)
    assert (rate.name, rate.other) == ("optimizer0.0.lr", "0.25")


def test_what_differs_in_a_file_is_shown_with_its_values():
    found = shown(resumed=resumed(quirks=Quirks(saves_rows_twice=True)))
    assert found.tensors[0].name.startswith("metrics.jsonl: ") and found.tensors[0].straight == "not there"
    assert found.layers is None


def test_a_text_in_a_file_is_no_number_whatever_it_looks_like():
    one, two = (straight(name) for name in ("straight", "rerun"))
    sides = []
    for trajectory, text in ((one, b'{"a": "0xzz"}'), (two, b'{"a": "0x1p-4"}')):
        content = read_content("a.json", text)
        file = FileEvidence(path="a.json", role="output", size_bytes=1, sha256=None, content=content)
        sides.append(replace(trajectory, files=(*trajectory.files, file)))
    found = shown(straight=sides[0], rerun=sides[1]).tensors[0]
    assert (found.straight, found.other, found.apart) == ('"0xzz"', '"0x1p-4"', None)


def test_of_a_file_that_is_not_read_the_digests_of_its_bytes_are_shown():
    sides = []
    for name, text in (("straight", b"1"), ("rerun", b"2")):
        file = FileEvidence(path="a.csv", role="output", size_bytes=1, sha256=None, content=read_content("a.csv", text))
        trajectory = straight(name)
        sides.append(replace(trajectory, files=(*trajectory.files, file)))
    found = shown(straight=sides[0], rerun=sides[1]).tensors[0]
    assert found.straight.startswith("bytes:") and found.other.startswith("bytes:") and found.straight != found.other


def test_the_map_of_layers_begins_with_the_state_that_a_resume_brought_back():
    found = shown(resumed=resumed(quirks=Quirks(forget=("moments",)))).layers
    assert found.steps == (4, 5, 6, 7, 8)
    trained = [row for row in found.rows if row.num_tensors > 1]
    assert all((row.different[0], row.different[-1], row.num_tensors) == (1, 3, 3) for row in trained)


def test_the_map_of_layers_is_bounded_and_counts_every_module_once():
    modules = [f"model.layers.{n}.{part}" for n in range(100) for part in ("attn.q", "attn.k", "mlp")] + ["head"]
    groups = _groups(modules)
    assert len(groups) <= MAX_ROWS
    assert sorted(name for _, names in groups for name in names) == sorted(modules)
    assert groups[0][0] == "model.layers.0 to model.layers.2" and len(_groups(modules[:60])) == MAX_ROWS
    assert len(_groups([str(n) for n in range(10_000)])) <= MAX_ROWS


def test_a_difference_that_is_no_number_has_no_distance():
    found = shown(resumed=resumed(quirks=Quirks(forget=("batch",)))).tensors
    assert found[0].dtype == "int64" and found[0].apart is None and np.prod(found[0].shape) == 1
