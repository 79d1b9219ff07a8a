from dataclasses import replace

import pytest

from harness.documents.run import Fault
from harness.errors import EvidenceError
from harness.evidence.ledger import STREAMS
from harness.judge.diff import compare_files, compare_run, compare_steps, spliced, summarise
from harness.judge.locate import locate, natural_key
from harness.judge.resume_step import align
from harness.judge.window import with_last_micro_batches
from tests.made.synthetic import STEPS, Quirks, resumed, straight


@pytest.fixture(scope="module")
def left():
    return straight()


def first_step_difference(left, quirks):
    return compare_run(left, straight("rerun", quirks), 1).differences[0]


def test_two_equal_trainings_have_no_difference_and_say_how_much_was_compared(left):
    compared = compare_run(left, straight("rerun"), 1)
    assert compared.differences == () and compared.problems == () and compared.notes == ()
    # At both ends 3 parameters, 1 buffer, 1 frozen weight, 2 generators and 1 learning rate; at the end 3 moments.
    assert (compared.amount.steps, compared.amount.tensors) == (STEPS, 8 + 11)
    assert compared.amount.bytes == 2 * (3 * 16 + 8 + 12 + 8) + 3 * 16


@pytest.mark.parametrize("stream", ["data", "lr", "loss", "grad", "optim", "param", "buffer"])
def test_one_changed_bit_is_found_at_its_step_in_its_stream(left, stream):
    first = first_step_difference(left, Quirks(noise=(3, stream)))
    assert (first.phase, first.step, first.stream) == ("step", 3, stream)


def test_streams_of_one_step_are_ordered_by_cause(left):
    compared = compare_run(left, straight("rerun", Quirks(noise=(3, "data"))), 1)
    at_step = [d.stream for d in compared.differences if d.step == 3]
    assert at_step == ["data", "loss", "grad", "optim", "param"]
    assert [s.stream for s in summarise(compared.differences)][:1] == ["data"]
    loss = next(s for s in summarise(compared.differences) if s.stream == "loss")
    assert (loss.first_step, loss.num_steps) == (3, STEPS - 2)


def test_the_tensor_is_the_first_by_name_with_numbers_in_their_order(left):
    other = straight("rerun", Quirks(noise=(3, "grad")))
    first = compare_run(left, other, 1).differences[0]
    place = locate(first, left.runs[0], other.runs[0])
    assert (place.tensor, place.num_different, place.num_tensors) == ("layers.0.weight", 3, 3)
    assert place.left.startswith("ml128:") and place.left != place.right
    assert sorted(["a.10", "a.2", "a", "b.1"], key=natural_key) == ["a", "a.2", "a.10", "b.1"]


@pytest.mark.parametrize("stream", ["data", "loss"])
def test_the_micro_batch_is_named(left, stream):
    other = straight("rerun", Quirks(noise=(3, stream)))
    first = compare_run(left, other, 1).differences[0]
    assert locate(first, left.runs[0], other.runs[0]).micro_batch == 1


def test_without_a_sidecar_the_place_is_unknown_but_the_micro_batch_of_a_loss(left):
    other = straight("rerun", Quirks(noise=(3, "loss")))
    bare = replace(other.runs[0], sidecar=None)
    first = compare_run(left, other, 1).differences[0]
    place = locate(first, left.runs[0], bare)
    assert (place.tensor, place.micro_batch, place.left) == (None, 1, first.left)


def test_a_sidecar_that_does_not_match_its_ledger_localises_nothing(left):
    other = straight("rerun", Quirks(noise=(3, "grad")))
    first = compare_run(left, other, 1).differences[0]
    mixed = replace(other.runs[0], sidecar=left.runs[0].sidecar)
    assert locate(first, left.runs[0], mixed).tensor is None


def test_a_stream_that_one_side_did_not_see_is_a_problem_and_no_difference(left):
    steps = left.runs[0].ledger.steps
    blind = [replace(s, streams={k: v for k, v in s.streams.items() if k != "grad"}) for s in steps]
    differences, problems, count = compare_steps(steps, blind)
    assert differences == () and count == STEPS
    assert len(problems) == 1 and "stream grad of step 1 was seen on one side only" in problems[0]


def test_a_step_beyond_the_straight_ones_is_a_problem(left):
    steps = left.runs[0].ledger.steps
    _, problems, count = compare_steps(steps[:-1], steps)
    assert count == STEPS - 1 and "step 8" in problems[0]


@pytest.mark.parametrize(
    ("change", "stream"),
    [
        ({"skipped": True}, "optim"),
        ({"micro_batches": 3}, "data"),
        ({"loss": ("0x1p+0",)}, "loss"),
        ({"lr": ("0x1p+0",)}, "lr"),
    ],
)
def test_fields_count_as_well_as_roots(left, change, stream):
    steps = left.runs[0].ledger.steps
    differences, _, _ = compare_steps(steps, [replace(steps[0], **change)])
    assert [(d.step, d.stream) for d in differences] == [(1, stream)]


def test_every_stream_of_the_contract_is_compared(left):
    steps = left.runs[0].ledger.steps
    for stream in STREAMS:
        other = replace(steps[4], streams={**steps[4].streams, stream: steps[0].streams["data"]})
        if steps[4].streams[stream] != steps[0].streams["data"]:
            assert [d.stream for d in compare_steps(steps, [other])[0]] == [stream]


def test_a_different_start_is_found_before_the_first_step(left):
    first = first_step_difference(left, Quirks(unseeded=("weights",)))
    assert (first.phase, first.step, first.stream) == ("start", 1, "param")


def test_a_different_evaluation_is_found(left):
    other = straight("rerun")
    (record,) = other.runs[0].ledger.evals
    ledger = replace(other.runs[0].ledger, evals=(replace(record, loss=("0x1p+0",)),))
    compared = compare_run(left, replace(other, runs=(replace(other.runs[0], ledger=ledger),)), 1)
    assert [(d.phase, d.step, d.stream) for d in compared.differences] == [("eval", 4, "eval")]
    none = replace(other.runs[0].ledger, evals=())
    compared = compare_run(left, replace(other, runs=(replace(other.runs[0], ledger=none),)), 1)
    assert [(d.left, d.right) for d in compared.differences] == [("1 evaluations", "0 evaluations")]


def test_an_evaluation_that_a_kill_cut_short_is_no_difference(left):
    kill = Fault(kind="after_step", step=4)
    compared = compare_run(left, resumed((kill,)), 1)
    assert compared.differences == () and compared.amount.steps == 4


# --- resumes ----------------------------------------------------------------------------------------------------------


def test_a_good_resume_equals_the_straight_run_with_its_repeated_step(left):
    other = resumed()
    assert [run.ledger.start.step for run in other.runs] == [0, 4]
    assert other.runs[0].ledger.last_step == 5, "step 5 was done before the kill and again after it"
    for number in (1, 2):
        compared = compare_run(left, other, number)
        assert compared.differences == () and compared.problems == ()
    restored = compared.restored
    # 3 moments, 3 parameters, 1 buffer, 1 frozen weight, 2 generators.
    assert (restored.after_step, restored.num_tensors, restored.num_equal, restored.different) == (4, 10, 10, ())


@pytest.mark.parametrize(
    ("forgotten", "phase", "stream"),
    [
        ("moments", "restore", "optim"),
        ("params", "restore", "param"),
        ("buffers", "restore", "buffer"),
        ("rng", "step", "rng"),
        ("batch", "step", "data"),
        ("schedule", "step", "lr"),
    ],
)
def test_state_that_is_not_restored_is_found_at_the_first_step_after_the_resume(left, forgotten, phase, stream):
    other = resumed(quirks=Quirks(forget=(forgotten,)))
    compared = compare_run(left, other, 2)
    first = compared.differences[0]
    assert (first.run, first.phase, first.step, first.stream) == (2, phase, 5, stream)
    wrong = {name.split(".")[0] for name in compared.restored.different}
    assert wrong == ({stream} if stream in ("optim", "param", "buffer", "rng") else set())
    assert compared.restored.num_equal == compared.restored.num_tensors - len(compared.restored.different)


def test_a_frozen_weight_that_came_back_different_is_found(left):
    other = resumed(quirks=Quirks(forget=("frozen",)))
    assert compare_run(left, other, 2).differences == ()
    changed = straight(quirks=Quirks(unseeded=("frozen",)))
    first = compare_run(changed, other, 2).differences[0]
    assert (first.phase, first.step, first.stream) == ("restore", 5, "frozen")


def test_a_parameter_that_is_named_later_does_not_count_at_the_restore(left):
    """A module that is first called after the start is not known there; a missing moment still counts."""
    late = Quirks(unknown_at_start=(("param", "layers.2.weight"),), source="optimizer")
    compared = compare_run(left, resumed(quirks=late), 2)
    assert compared.differences == () and compared.restored.num_tensors == 9
    lost = Quirks(unknown_at_start=(("optim", "layers.2.weight.exp_avg"),), source="optimizer")
    compared = compare_run(left, resumed(quirks=lost), 2)
    assert [d.stream for d in compared.differences] == ["optim"]
    assert compared.restored.different == ("optim.layers.2.weight.exp_avg",)


def test_state_that_no_file_holds_and_the_next_step_makes_anew_is_a_note(left):
    """A copy of the weights that an optimizer makes in each step; the moments are saved, so a missing one counts."""
    unsaved = Quirks(unknown_at_start=(("buffer", "mean"),), source="optimizer")
    compared = compare_run(left, resumed(quirks=unsaved), 2)
    assert compared.differences == ()
    assert compared.notes == ("buffer.mean: not restored in resumed/2, and no step read it: all that follows is equal",)
    assert compare_run(replace(left, files=()), resumed(quirks=unsaved), 2).differences
    read = replace(unsaved, noise=(6, "loss"))
    assert [d.step for d in compare_run(left, resumed(quirks=read), 2).differences][:2] == [5, 6]


def test_optimizer_state_under_another_name_is_the_same_state(left):
    renamed = Quirks(
        rename_at_start=(("optim", "layers.2.weight.exp_avg", "optimizer1.0.0.exp_avg"),), source="optimizer"
    )
    assert compare_run(left, resumed(quirks=renamed), 2).differences == ()


def test_a_faithful_second_resume_of_a_training_that_had_diverged_is_told_as_such(left):
    kills = (Fault(kind="after_step", step=3), Fault(kind="after_step", step=7))
    other = resumed(kills, quirks=Quirks(forget=("rng",)))
    second, third = (compare_run(left, other, number).restored for number in (2, 3))
    assert second.different == ("rng.torch",)
    assert (third.after_step, third.different) == (6, ("rng.torch",)), "weights and moments are those of its own step 6"
    assert "param" in {d.stream for d in compare_run(left, other, 3).differences if d.phase == "restore"}


# --- generators that nothing draws from -------------------------------------------------------------------------------


def test_a_generator_that_nothing_draws_from_is_a_note(left):
    compared = compare_run(left, straight("rerun", Quirks(unseeded=("python",))), 1)
    assert compared.differences == ()
    assert compared.notes == (
        "generator python had another state in rerun/1 than in the straight run; nothing drew from it",
    )


def test_a_generator_that_is_drawn_from_counts(left):
    compared = compare_run(left, straight("rerun", Quirks(unseeded=("rng",))), 1)
    assert [(d.phase, d.stream) for d in compared.differences[:1]] == [("start", "rng")]


def test_without_sidecars_every_generator_counts(left):
    other = straight("rerun", Quirks(unseeded=("python",)))
    bare = replace(other, runs=(replace(other.runs[0], sidecar=None),))
    assert compare_run(left, bare, 1).differences[0].stream == "rng"


def test_a_generator_that_a_checkpoint_holds_counts_even_if_nothing_draws_from_it():
    still = Quirks(draws=False)
    one, two = straight(quirks=still), straight("rerun", replace(still, unseeded=("rng",)))
    assert compare_run(one, two, 1).notes
    digest = one.runs[0].sidecar.tensors("start", 0, "rng")["torch"].digest
    file = one.files[1]
    tensor = replace(file.content.tensors[0], digest=type(file.content.tensors[0].digest).parse(digest))
    saved = replace(file, content=replace(file.content, tensors=(tensor,)))
    assert compare_run(replace(one, files=(saved,)), two, 1).differences[0].stream == "rng"


# --- where a resumed run stands ---------------------------------------------------------------------------------------


def test_the_host_finds_the_step_again_from_the_roots():
    other = resumed()
    found = align(other.runs[:1], None, other.runs[1], other.runs[1].ledger.start)
    assert (found.claimed, found.source, found.found, found.agrees) == (4, "content", 4, True)


def test_a_claim_that_the_roots_contradict_does_not_agree():
    other = resumed(quirks=Quirks(claims_step=2))
    found = align(other.runs[:1], None, other.runs[1], other.runs[1].ledger.start)
    assert (found.claimed, found.found, found.agrees) == (2, 4, False)


def test_a_claim_by_content_that_nothing_supports_does_not_agree():
    other = resumed(quirks=Quirks(forget=("moments",), source="content"))
    assert not align(other.runs[:1], None, other.runs[1], other.runs[1].ledger.start).agrees


def test_a_state_that_is_found_nowhere_leaves_the_claim_standing():
    other = resumed(quirks=Quirks(forget=("moments",)))
    found = align(other.runs[:1], None, other.runs[1], other.runs[1].ledger.start)
    assert (found.source, found.found, found.agrees) == ("param", None, True)


def test_a_step_whose_record_the_kill_tore_is_found_in_the_straight_run(left):
    other = resumed()
    early = replace(other.runs[0], ledger=replace(other.runs[0].ledger, steps=other.runs[0].ledger.steps[:3]))
    assert align((early,), left.runs[0].ledger, other.runs[1], other.runs[1].ledger.start).found == 4


# --- files ------------------------------------------------------------------------------------------------------------


def test_files_are_compared_by_content(left):
    compared = {f.path: f for f in compare_files(left.files, resumed().files)}
    assert all(f.is_equal for f in compared.values()) and len(compared) == 6
    assert compared["adapter.safetensors"].num_tensors == 3


def test_a_file_says_which_tensors_and_values_differ(left):
    other = straight("rerun", Quirks(noise=(8, "param")))
    compared = {f.path: f for f in compare_files(left.files, other.files)}
    assert compared["adapter.safetensors"].different == ("layers.0.weight",)
    assert compared["checkpoints/step2.safetensors"].is_equal


def test_an_output_that_one_side_lacks_differs_and_a_checkpoint_does_not(left):
    compared = {f.path: f for f in compare_files(left.files, [])}
    assert set(compared) == {"adapter.safetensors", "metrics.jsonl"}
    assert all(f.is_equal is False and f.right == "not there" for f in compared.values())


def test_a_file_that_cannot_be_read_is_undecided_unless_its_bytes_are_equal(left):
    torn = [replace(f, content=None, problem="torn") for f in left.files]
    assert all(f.is_equal is True for f in compare_files(left.files, torn))
    other = [replace(f, sha256=None) for f in torn]
    assert all(f.is_equal is None and f.problem == "torn" for f in compare_files(left.files, other))


def test_a_resumed_training_can_be_spliced_into_one_run(left):
    one = spliced(resumed((Fault(kind="after_step", step=3), Fault(kind="after_step", step=7))))
    assert [record.step for record in one.runs[0].ledger.steps] == list(range(1, STEPS + 1))
    assert compare_run(left, one, 1).differences == () and len(one.runs[0].ledger.evals) == 1
    broken = resumed(quirks=Quirks(forget=("rng",)))
    assert compare_run(left, spliced(broken), 1).differences[0].step == 5


def test_a_training_with_a_hole_is_not_spliced():
    holed = resumed((Fault(kind="after_step", step=3),), quirks=Quirks(claims_step=5))
    with pytest.raises(EvidenceError, match="no run recorded step 4"):
        spliced(holed)


def test_a_window_that_was_saved_under_a_signal_is_compared_by_its_last_micro_batches_if_its_gradients_are_the_whole():
    left, number = straight().runs[0], 6
    records = list(left.ledger.steps)
    half = replace(records[number - 1], micro_batches=1, loss=records[number - 1].loss[1:])
    for grad, num in ((half.streams["grad"], 1), (records[0].streams["grad"], 2)):
        first = replace(half, streams={**half.streams, "grad": grad})
        right = replace(left, ledger=replace(left.ledger, steps=(first, *records[number:])))
        steps, notes = with_last_micro_batches(left, right)
        assert (steps[number - 1].micro_batches, len(notes)) == (num, 2 - num)
