"""Trainings that are killed and resumed: the judge finds the right step, and a difference just where there is one."""

import signal

import pytest

from harness.documents.run import Fault, RunRecord
from harness.judge.diagnosis import diagnose
from harness.judge.diff import compare_files, compare_run, place_of
from harness.judge.resume_step import align
from harness.judge.symptom import Symptom
from harness.runs.load_evidence import load_trajectory
from tests.unit.recorder.conftest import SCRIPTS

SCRIPT = SCRIPTS / "habits.py"
KILL = {"kind": "after_step", "step": 7}
RIGHT = {
    # number of steps, after which one the resume goes on, and where and why it differs
    "clamped_through_data": (12, 6, None),
    "clamped_after_the_save": (12, 6, (7, "param", "weights_not_restored")),
    "weights_stand_still_at_first": (12, 6, None),
    "a_trial_forward_before_the_load": (12, 6, None),
    "averages_swapped_in_for_evaluation": (12, 6, None),
    "an_optimizer_without_a_counter": (12, 6, None),
    "rounded_weights_and_no_optimizer": (12, 6, (7, "optim", "checkpoint_lost_precision")),
    "read_and_not_loaded": (12, 6, (7, "param", "weights_not_restored")),
    "parts_of_two_checkpoints": (12, 6, (7, "param", "checkpoints_mixed")),
    "frozen_weights_that_move": (12, 6, (7, "frozen", "frozen_weights_moved")),
    "an_optimizer_of_another_model": (12, 6, (7, "param", "optimizer_of_other_parameters")),
    "three_updates_of_the_critic": (27, 0, None),
    "networks_that_take_turns": (6, 4, None),
    "an_optimizer_for_each_parameter": (12, 6, None),
    "a_checkpoint_within_a_window": (10, 7, None),
    "gradients_of_single_samples": (12, 6, None),
    "a_step_that_only_makes_state": (12, 6, None),
    "phases_with_an_optimizer_each": (12, 6, None),
    "a_model_for_each_fold": (12, 6, None),
    "updates_of_copies": (15, 6, None),
}
KILLS = {
    "three_updates_of_the_critic": {"kind": "after_step", "step": 11},
    "networks_that_take_turns": {**KILL, "step": 5},
}
KILLS["a_checkpoint_within_a_window"] = {**KILL, "step": 8}
RIGHT["three_updates_of_the_critic"] = (27, 9, None)


def record(trajectory, number, code=0, faults=()):
    return RunRecord(
        trajectory=trajectory,
        number=number,
        mode="run",
        argv=("python",),
        faults=faults,
        exit_code=code,
        oom_killed=False,
        killed_by=None,
        error=None,
        settings={},
        volatile={},
        seconds=1.0,
    )


@pytest.mark.parametrize("name", RIGHT)
def test_a_resume_is_held_against_the_right_step(name, new_trajectory):
    num_steps, step, difference = RIGHT[name]
    kill = KILLS.get(name, KILL)
    straight, resumed = new_trajectory(), new_trajectory()
    for trajectory, run in (
        (straight, straight.run(SCRIPT, name, straight.output)),
        (resumed, resumed.run(SCRIPT, name, resumed.output, faults=(kill,))),
        (resumed, resumed.run(SCRIPT, name, resumed.output, "--resume")),
    ):
        assert run.events("recorder_error") == []
        assert run.returncode == (-signal.SIGKILL if trajectory is resumed and run.folder.name == "1" else 0), (
            run.stderr
        )
    declared = ("final.pt",), ("last.pt",)
    one = load_trajectory(straight.folder, "straight", (record("straight", 1),), *declared)
    runs = (record("resumed", 1, 137, (Fault(**kill),)), record("resumed", 2))
    two = load_trajectory(resumed.folder, "resumed", runs, *declared)
    found = align(two.runs[:1], one.runs[0].ledger, two.runs[1], two.runs[1].ledger.start)
    assert (found.claimed, found.found, found.agrees) == (step, step, True)
    assert one.runs[0].ledger.last_step == num_steps
    assert compare_run(one, two, 1).differences == ()
    compared, files = compare_run(one, two, 2), compare_files(one.files, two.files)
    if difference is None:
        assert compared.differences == () and compared.problems == ()
        assert all(file.is_equal for file in files)
        return
    first = compared.differences[0]
    place = place_of(first, files, one, two)
    symptom = Symptom(
        check="resume",
        straight=one,
        other=two,
        comparison=compared,
        first=first,
        place=place,
        files=files,
        rerun_steps=num_steps,
    )
    assert (first.step, first.stream, diagnose(symptom).kind) == difference
