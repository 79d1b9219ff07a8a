"""Every planted bug shows where its name says, by comparing ledgers; the control shows nothing."""

import shutil
import signal

import pytest

from tests.unit.recorder.comparison import content, first_divergence
from tests.unit.recorder.conftest import MUTANT

CONFIG = {"seed": 5, "steps": 8, "lr": 0.01, "batch_size": 6, "accumulation": 2, "save_every": 3}


@pytest.fixture(scope="module")
def clean(new_trajectory):
    trajectory = new_trajectory()
    run = trajectory.train(MUTANT, {**CONFIG, "bug": None})
    assert run.returncode == 0, run.stderr
    return trajectory, run


@pytest.fixture(scope="module")
def killed(new_trajectory):
    """Killed after step 4, with the checkpoint of step 3; the bugs that concern a resume have not shown yet."""
    trajectory = new_trajectory()
    run = trajectory.train(MUTANT, {**CONFIG, "bug": None}, faults=({"kind": "after_step", "step": 4},))
    assert run.returncode == -signal.SIGKILL
    return trajectory


@pytest.fixture
def resume(killed, new_trajectory):
    def resumed(bug):
        trajectory = new_trajectory()
        shutil.copytree(killed.folder, trajectory.folder, dirs_exist_ok=True)
        trajectory.number = 1
        run = trajectory.train(MUTANT, {**CONFIG, "bug": bug}, "--resume")
        assert run.returncode == 0, run.stderr
        return trajectory, run

    return resumed


def test_the_control_resumes_exactly(clean, resume):
    trajectory, run = resume(None)
    assert (run.start()["step"], run.start()["step_source"]) == (3, "content")
    assert sorted(run.steps()) == [4, 5, 6, 7, 8]
    assert first_divergence(clean[1].steps(), run.steps()) is None
    assert content(run.ledger()[-1]) == content(clean[1].ledger()[-1])
    assert trajectory.final() == clean[0].final()


def test_forgetting_the_generators_is_found_at_the_first_resumed_step_in_rng(clean, resume):
    trajectory, run = resume("forgets_rng")
    assert (run.start()["step"], run.start()["step_source"]) == (3, "content")
    assert first_divergence(clean[1].steps(), run.steps()) == (4, "rng")
    assert run.steps()[4]["streams"]["data"] == clean[1].steps()[4]["streams"]["data"]
    assert trajectory.final() != clean[0].final()


def test_forgetting_the_moments_is_found_in_the_restored_state_and_the_first_resumed_step(clean, resume):
    trajectory, run = resume("forgets_moments")
    assert (run.start()["step"], run.start()["step_source"]) == (3, "file")
    assert run.start()["counts"]["optim"] == 0 < clean[1].ledger()[-1]["counts"]["optim"]
    assert run.start()["streams"]["param"] == clean[1].steps()[3]["streams"]["param"]
    assert first_divergence(clean[1].steps(), run.steps()) == (4, "optim")
    assert trajectory.final() != clean[0].final()


def test_replaying_the_first_batches_is_found_at_the_first_resumed_step_in_data(clean, resume):
    _, run = resume("replays_first_batches")
    assert run.start()["step"] == 3
    assert first_divergence(clean[1].steps(), run.steps()) == (4, "data")
    assert run.steps()[4]["streams"]["data"] == clean[1].steps()[1]["streams"]["data"]


def test_starting_over_begins_at_step_0_and_ends_with_the_right_bits(clean, resume):
    trajectory, run = resume("starts_over")
    assert (run.start()["step"], run.start()["step_source"]) == (0, "content")
    assert sorted(run.steps()) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert first_divergence(clean[1].steps(), run.steps()) is None
    assert trajectory.final() == clean[0].final()


def test_without_a_seed_two_straight_runs_differ_from_the_first_step_on(new_trajectory):
    one, other = (new_trajectory().train(MUTANT, {**CONFIG, "bug": "unseeded"}) for _ in range(2))
    assert first_divergence(one.steps(), other.steps()) == (1, "rng")


def test_without_a_learning_rate_the_weights_never_move(new_trajectory):
    run = new_trajectory().train(MUTANT, {**CONFIG, "bug": "zero_lr"})
    assert len({run.start()["streams"]["param"], *(r["streams"]["param"] for r in run.steps().values())}) == 1


def test_an_unknown_bug_is_refused(new_trajectory):
    run = new_trajectory().train(MUTANT, {**CONFIG, "bug": "typo"})
    assert run.returncode == 1 and "unknown bug 'typo'" in run.stderr
