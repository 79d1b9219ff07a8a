"""Verdicts of prefixes: what they say, what they never say, and what a first difference leaves to be judged."""

from dataclasses import replace

import pytest

from harness.documents.run import FIRST_DIFFERENCE, Fault
from harness.documents.scope import Prefix
from harness.documents.verdict import StoppedAt
from harness.judge.verdict import judge
from tests.made.synthetic import KILL, STEPS, Quirks, case, good_controls, resumed, straight
from tests.unit.judge.test_verdict import assert_inconclusive, oracle, with_run

N = 7
STOP = Fault(kind="stop", step=N)
SCOPE = Prefix(steps=N, of=STEPS)
TEXT = "the first 7 of 8 steps"
SOUND = Quirks()


def ended(name="straight", quirks=SOUND, stop=STOP):
    return straight(name, quirks, stop)


def interrupted(kills=(KILL,), quirks=SOUND, **changes):
    return resumed(kills, quirks, last_kill=STOP, **changes)


def judged(**changes):
    fields = {"steps": N, "scope": SCOPE, "straight": ended(), "rerun": ended("rerun"), "resumed": interrupted()}
    return judge(case(**fields | changes)).to_json()


def stopped(trajectory, step=None):
    """The trajectory as it is left when the host ends its last run, after a step of it or wherever it was."""
    number = len(trajectory.runs)
    ledger = trajectory.runs[-1].ledger
    if step is not None:
        ledger = replace(ledger, steps=tuple(one for one in ledger.steps if one.step <= step), end=None)
    return with_run(trajectory, number, record_killed_by=FIRST_DIFFERENCE, record_exit_code=137, ledger=ledger)


def at(trajectory, run, step):
    return StoppedAt(trajectory=trajectory, run=run, step=step)


# --- a whole prefix ---------------------------------------------------------------------------------------------------


def test_a_prefix_that_repeats_and_survives_its_kill_is_certified_and_says_what_it_is():
    document = judged()
    assert (document["verdict"], document["exit_code"], document["problems"]) == ("CERTIFIED", 0, [])
    assert document["scope"] == {"steps": N, "of": STEPS} and document["stopped_at"] is None
    assert f"in {TEXT}" in document["summary"]
    assert document["checks"]["rerun"]["how"] == "a second straight run up to step 7"
    assert document["checks"]["resume"]["how"] == "one kill, followed by a resume, up to step 7"
    assert document["compared"]["steps"] == N + 3
    assert document["final_state_equal"] is None


def test_a_whole_training_has_no_scope():
    document = judge(case()).to_json()
    assert (document["scope"], document["stopped_at"]) == (None, None)


def test_what_lies_behind_the_prefix_is_listed_as_not_checked():
    late = Fault(kind="after_step", step=8)
    lines = judged(scope=SCOPE.model_copy(update={"left_out": (late,)}))["not_checked"]
    for words in ("steps 8 to 8: only the first 7 of 8", "the outputs, the final state", "kill after_step at step 8"):
        assert any(words in line for line in lines), (words, lines)


def test_outputs_are_not_compared_and_checkpoints_are():
    def with_other_metrics(trajectory):
        changed = [replace(f, sha256=None, content=None) if f.role == "output" else f for f in trajectory.files]
        return replace(trajectory, files=tuple(changed))

    document = judged(rerun=with_other_metrics(ended("rerun")))
    assert document["verdict"] == "CERTIFIED", document["problems"]
    assert [(file["path"], file["role"]) for file in document["files"]] == [
        (f"checkpoints/step{step}.safetensors", "checkpoint") for step in (2, 4, 6)
    ]
    other = ended("rerun")
    torn = replace(other.files[0], sha256=None, content=ended(quirks=Quirks(learning=0.5)).files[0].content)
    document = judged(rerun=replace(other, files=(torn, *other.files[1:])))
    assert (document["verdict"], document["cause"]["class"]) == ("DIVERGED", "output_differs")


@pytest.mark.parametrize("name", ["straight", "rerun", "resumed"])
def test_a_training_that_finished_instead_of_being_stopped_is_no_prefix(name):
    whole = {"straight": straight(), "rerun": straight("rerun"), "resumed": resumed()}[name]
    assert_inconclusive(judged(**{name: whole}), "the planned stop after step 7 never landed: the run finished")


def test_a_training_that_died_before_its_stop_is_no_prefix():
    early = with_run(ended("rerun", stop=Fault(kind="stop", step=5)), 1, record_faults=(STOP,))
    assert_inconclusive(judged(rerun=early), "the planned stop after step 7 was never reached")


def test_a_stop_from_outside_is_not_the_planned_one():
    # The host ends a process that trains behind the prefix.
    assert_inconclusive(judged(rerun=with_run(ended("rerun"), 1, record_killed_by="outside")), "came from outside")


def test_a_resume_that_forgets_is_found_in_a_prefix_as_always():
    document = judged(resumed=interrupted(quirks=Quirks(forget=("rng",))))
    first = document["first_divergence"]
    assert (document["verdict"], document["cause"]["class"]) == ("DIVERGED", "rng_not_restored")
    assert (first["trajectory"], first["run"], first["step"], first["stream"]) == ("resumed", 2, 5, "rng")
    assert document["summary"].endswith("Only the first 7 of 8 steps were run.")


def test_a_checkpoint_that_is_ignored_is_found_in_a_prefix_as_always():
    document = judged(resumed=interrupted(quirks=Quirks(forget=("everything",))))
    assert (document["verdict"], document["cause"]["class"]) == ("DIVERGED", "checkpoint_ignored")


def test_a_kill_in_a_write_that_does_not_come_within_the_prefix_is_left_out():
    write = Fault(kind="in_write", step=7, byte=40)  # the next checkpoint is written after step 8
    trajectory = interrupted()
    runs = [with_run(trajectory, 2, record_faults=(write, STOP)).runs[n] for n in (0, 1)]
    document = judged(resumed=replace(trajectory, runs=tuple(runs)), interruptions=(KILL, write))
    assert document["verdict"] == "CERTIFIED", document["problems"]
    assert [one["kind"] for one in document["interruptions"]] == ["micro_batch"]
    assert any("the kill in_write at step 7" in line for line in document["not_checked"])


def test_a_run_that_is_missing_is_not_taken_for_a_kill_that_was_left_out():
    trajectory = interrupted()
    late = Fault(kind="after_step", step=6)
    document = judged(resumed=replace(trajectory, runs=trajectory.runs[:1]), interruptions=(KILL, late))
    assert_inconclusive(document, "resumed: 1 of 3 runs took place")
    assert [one["landed"] for one in document["interruptions"]] == [True, False]


# --- testimony and controls -------------------------------------------------------------------------------------------


def test_without_outputs_the_recorded_weights_are_looked_for_in_the_checkpoints():
    document = judged()
    assert document["testimony"] == {
        "tensors_on_disk": 27,
        "found_in_ledger": 27,
        "missing": [],
        "in_checkpoints": 0,
        "derived": 0,
    }


def test_checkpoints_that_hold_other_weights_than_were_recorded_are_no_testimony():
    foreign = ended(quirks=Quirks(learning=0.5)).files
    document = judged(straight=replace(ended(), files=foreign), rerun=None, resumed=None, required=("rerun",))
    assert document["verdict"] == "INCONCLUSIVE"
    assert any("no recorded step's weights are in it" in text for text in document["problems"]), document["problems"]


def test_without_a_checkpoint_nothing_is_said_of_files_and_their_control_is_not_missed():
    bare = Quirks(no_saves=True)
    document = judged(
        straight=ended(quirks=bare),
        rerun=ended("rerun", bare),
        resumed=None,
        interruptions=(),
        required=("rerun",),
        controls=good_controls("tensor_bit", "flip_optim"),
    )
    assert document["verdict"] == "CERTIFIED", document["problems"]
    lines = " ".join(document["not_checked"])
    assert "the negative control tensor_bit" in lines and "whether the checkpoints are in the ledger" in lines


def test_where_there_are_checkpoints_their_control_is_missed():
    assert_inconclusive(judged(controls=good_controls("tensor_bit")), "control tensor_bit was not made")


# --- stopped at the first difference ----------------------------------------------------------------------------------


def test_a_second_run_that_differs_leaves_the_verdict_and_its_cause_when_all_was_stopped_there():
    noisy = Quirks(unseeded=("data",))
    document = judged(
        straight=stopped(ended(), 3),
        rerun=stopped(ended("rerun", noisy), 2),
        resumed=None,
        controls=good_controls("flip_param", "flip_optim"),
        stopped_at=at("rerun", 1, 1),
    )
    whole = judged(rerun=ended("rerun", noisy))
    assert (document["verdict"], document["cause"]["class"]) == ("DIVERGED", whole["cause"]["class"])
    assert document["first_divergence"] == whole["first_divergence"]
    assert document["control"]["failed_as_it_must"] is True and document["interruptions"] == []
    assert document["stopped_at"] == {"trajectory": "rerun", "run": 1, "step": 1}
    lines = " ".join(document["not_checked"])
    for words in ("the kill micro_batch at step 6", "behind the first difference", "the negative control flip_param"):
        assert words in lines


@pytest.mark.parametrize("forgotten", ["rng", "moments", "batch", "params", "schedule", "buffers"])
def test_a_resume_that_differs_has_the_same_place_and_cause_as_without_the_stop(forgotten):
    trajectory = interrupted(quirks=Quirks(forget=(forgotten,)))
    whole = judged(resumed=trajectory)
    assert whole["verdict"] == "DIVERGED"
    document = judged(
        resumed=stopped(trajectory, 5),
        rerun=stopped(ended("rerun"), 5),
        stopped_at=at("resumed", 2, 5),
        controls=good_controls("flip_param", "flip_optim"),
    )
    assert document["verdict"] == "DIVERGED", document["problems"]
    assert document["first_divergence"] == whole["first_divergence"]
    assert document["cause"]["class"] == whole["cause"]["class"]
    assert document["checks"]["rerun"]["how"] == "a second straight run up to step 5"
    assert document["problems"] == []


def test_weights_rounded_by_the_checkpoint_are_still_named_when_all_was_stopped():
    trajectory = interrupted(quirks=Quirks(round_to="<f2"))
    whole, cut = (
        judged(resumed=trajectory),
        judged(resumed=stopped(trajectory, 5), rerun=stopped(ended("rerun"), 5), stopped_at=at("resumed", 2, 5)),
    )
    assert whole["cause"]["class"] == cut["cause"]["class"]


def test_a_resume_that_was_stopped_without_differing_is_no_yes():
    noisy = ended("rerun", Quirks(noise=(6, "loss")))
    document = judged(rerun=stopped(noisy, 6), resumed=stopped(interrupted(), 6), stopped_at=at("rerun", 1, 6))
    assert (oracle(document, "rerun"), oracle(document, "resume")) == ("DIVERGED", "INCONCLUSIVE")
    assert document["checks"]["resume"]["reason"] == "resumed was stopped: rerun/1 differed at step 6"


def test_a_trajectory_that_was_not_gone_on_with_is_no_yes_either():
    noisy = ended("rerun", Quirks(noise=(6, "loss")))
    trajectory = interrupted()
    trajectory = replace(trajectory, runs=trajectory.runs[:1])
    document = judged(rerun=stopped(noisy, 6), resumed=trajectory, stopped_at=at("rerun", 1, 6))
    assert document["verdict"] == "DIVERGED"
    assert document["checks"]["resume"]["verdict"] == "INCONCLUSIVE"
    assert document["interruptions"][0]["landed"] is True


def test_files_that_may_have_been_cut_off_while_they_were_written_are_not_compared():
    trajectory = interrupted(quirks=Quirks(forget=("rng",)))
    rerun = ended("rerun")
    torn = replace(rerun.files[0], sha256=None, content=None, problem="torn")
    rerun = stopped(replace(rerun, files=(torn, *rerun.files[1:])), 6)
    document = judged(resumed=stopped(trajectory, 5), rerun=rerun, stopped_at=at("resumed", 2, 5))
    assert oracle(document, "rerun") == "CERTIFIED" and document["files"] == []


def test_a_stop_that_the_evidence_does_not_bear_out_is_never_certified():
    document = judged(stopped_at=at("resumed", 2, 5))
    assert_inconclusive(document, "every training was stopped at step 5 of resumed/2, which differed there")


def test_a_run_that_was_stopped_before_its_first_step_says_so():
    noisy = stopped(ended("rerun", Quirks(noise=(6, "loss"))), 6)
    trajectory = with_run(interrupted(), 2, record_killed_by=FIRST_DIFFERENCE, ledger=None, problem="left no ledger")
    document = judged(rerun=noisy, resumed=trajectory, stopped_at=at("rerun", 1, 6))
    assert document["verdict"] == "DIVERGED"
    assert "before it had a step" in document["checks"]["resume"]["reason"]
