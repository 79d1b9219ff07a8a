"""Kill points that follow from a straight run: which kinds there are, that they are found again, what is warned of."""

from collections import Counter
from dataclasses import replace

import pytest

from harness.documents.experiment import Experiment
from harness.documents.run import Fault
from harness.judge.kill_points import choose_kills, drawn_points, not_shown, planned_kills
from harness.judge.verdict import judge
from tests.made.synthetic import STEPS, Quirks, case, resumed, straight

WHOLE = straight()  # 8 steps of two micro-batches, saved after every second one, evaluated after step 4


def chosen(trajectory=WHOLE, seed="0"):
    return choose_kills(trajectory, seed)


def with_ledger(**changes):
    run = WHOLE.runs[0]
    return replace(WHOLE, runs=(replace(run, ledger=replace(run.ledger, **changes)),))


@pytest.mark.parametrize("seed", [*map(str, range(40))])
def test_kills_come_before_a_checkpoint_inside_one_after_an_epoch_and_inside_a_window(seed):
    found = chosen(seed=seed)
    by_kind = {kill.kind: kill for kill in found.kills}
    assert by_kind["after_step"].step == 1
    assert by_kind["in_write"].step in (4, 6)
    assert (by_kind["before_step"].step, by_kind["before_step"].by) == (5, "outside")
    if "micro_batch" in by_kind:  # not where another kill has its step already
        assert by_kind["micro_batch"].step in (6, 7) and by_kind["micro_batch"].micro_batch == 1
    steps = [kill.step for kill in found.kills]
    assert steps == sorted(set(steps)) and max(steps) > 4 and max(steps) < STEPS
    # A certify chooses when it has only listed the files, of which it knows no sizes, and verify when it has read them.
    listed = replace(WHOLE, files=tuple(replace(file, size_bytes=0) for file in WHOLE.files))
    assert found.warning == "" and found == chosen(seed=seed) == chosen(listed, seed=seed)


def test_what_is_saved_beside_the_declared_checkpoints_is_no_point():
    events = [event for event in WHOLE.runs[0].events if event.kind == "save_begin"]
    later = frozenset(str(event.fields["path"]) for event in events if event.fields["step"] == 6)
    by_kind = {kill.kind: kill.step for kill in chosen(replace(WHOLE, checkpoints=later)).kills}
    assert by_kind["in_write"] == 6 and 1 <= by_kind["after_step"] < 6


def test_another_seed_gives_other_points_and_every_kind_takes_part():
    found = {tuple((kill.kind, kill.step) for kill in chosen(seed=str(seed)).kills) for seed in range(40)}
    assert len(found) > 2
    assert {kind for kills in found for kind, _ in kills} == {"after_step", "in_write", "before_step", "micro_batch"}


def test_a_rerun_that_is_the_steps_before_the_first_kill_does_without_the_earliest():
    document = {
        "schema": 1,
        "image": "x",
        "run": ["a"],
        "resume": ["a"],
        "outputs": ["*"],
        "policy": {"rerun": "prefix"},
    }
    kills = planned_kills(Experiment.model_validate(document), WHOLE, "0")
    assert kills == tuple(kill.fault for kill in chosen().kills[1:]) and kills[0].step > 1


def test_a_smaller_last_window_shows_an_epoch_where_nothing_is_evaluated():
    steps = WHOLE.runs[0].ledger.steps
    short = tuple(replace(one, micro_batches=1) if one.step in (3, 6) else one for one in steps)
    found = chosen(with_ledger(steps=short, evals=()))
    assert {kill.step for kill in found.kills if kill.kind == "before_step"} <= {4, 7}


def test_without_an_epochs_end_or_a_later_kill_that_is_warned_of():
    assert "no epoch's end was seen" in chosen(with_ledger(evals=())).warning
    evals = (replace(WHOLE.runs[0].ledger.evals[0], step=7),)
    assert "first epoch, which ends at step 7" in chosen(with_ledger(evals=evals)).warning


def test_a_verdict_says_that_no_kill_lies_past_the_first_epoch_whoever_chose_them():
    early, late = (Fault(kind="after_step", step=step) for step in (3, 5))
    assert "first epoch, which ends at step 4" in not_shown(WHOLE, (early,))
    assert not_shown(WHOLE, (early, late)) == not_shown(WHOLE, ()) == not_shown(None, (early,)) == ""
    assert not_shown(WHOLE, (early,)) in judge(case(resumed=resumed((early,)), interruptions=(early,))).not_checked


def test_a_training_that_saves_nothing_is_killed_all_the_same_and_one_without_evidence_is_not():
    assert [kill.kind for kill in chosen(straight(quirks=Quirks(no_saves=True))).kills][-1] == "micro_batch"
    assert chosen(None).kills == () == chosen(replace(WHOLE, runs=())).kills


@pytest.mark.parametrize(
    ("changes", "num"),
    [({}, 0), ({"policy": {"required": ["rerun"]}}, 0), ({"interruptions": [{"kind": "after_step", "step": 3}]}, 1)],
)
def test_listed_kills_are_those_of_the_experiment_and_none_are_chosen_where_no_resume_is_asked_for(changes, num):
    document = {"schema": 1, "image": "x", "run": ["a"], "resume": ["a"], "outputs": ["*"], **changes}
    experiment = Experiment.model_validate(document)
    found = planned_kills(experiment, WHOLE, "0")
    assert len(found) == (num or (len(chosen().kills) if experiment.chooses_kills else 0))
    assert experiment.chooses_kills is (changes == {})


def test_a_sweep_draws_each_micro_batch_and_each_write_as_likely_as_any_other():
    everything, num = drawn_points(WHOLE, "0", 1000)
    assert num == len(everything) == len(set(everything)) == 2 * STEPS + 3  # the write after the last step is none
    assert {(one.step, one.micro_batch) for one in everything if one.micro_batch} == {
        (step, micro) for step in range(1, STEPS + 1) for micro in (1, 2)
    }
    assert sorted(one.step for one in everything if one.write) == [2, 4, 6]
    firsts = Counter(drawn_points(WHOLE, str(seed), 1)[0][0].step for seed in range(950))
    # 50 draws of each of 19 points: steps 2, 4 and 6 have three of them, the others two; 5 standard deviations.
    assert all(abs(firsts[step] - 50 * (3 if step in (2, 4, 6) else 2)) < 5 * 12 for step in range(1, STEPS + 1))
    assert {one.kind for seed in range(9) for one in drawn_points(WHOLE, str(seed), 99)[0] if one.write} == {
        "before_write",
        "in_write",
        "after_write",
    }


def test_fewer_points_are_the_first_of_more_and_the_same_commit_gives_the_same():
    assert drawn_points(WHOLE, "a", 5) == (drawn_points(WHOLE, "a", 9)[0][:5], 2 * STEPS + 3)
    assert drawn_points(WHOLE, "a", 5) != drawn_points(WHOLE, "b", 5)
    assert drawn_points(None, "a", 5) == ((), 0)


def test_the_second_file_of_a_checkpoint_is_the_second_write_after_its_step():
    run = WHOLE.runs[0]
    twice = tuple(event for one in run.events for event in ([one, one] if one.kind == "save_begin" else [one]))
    points, _ = drawn_points(replace(WHOLE, runs=(replace(run, events=twice),)), "0", 99)
    assert sorted((one.step, one.write) for one in points if one.write) == [(s, w) for s in (2, 4, 6) for w in (1, 2)]
