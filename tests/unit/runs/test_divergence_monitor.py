"""Who is stopped when, whichever of the trainings is ahead."""

import itertools

import pytest

from harness.documents.verdict import StoppedAt
from harness.runs.divergence_monitor import DivergenceMonitor

ALL = ("straight", "rerun", "resumed", "control-param")


def row(step, root="a"):
    return {"kind": "step", "step": step, "streams": {"param": root}, "loss": [], "lr": []}


@pytest.fixture
def lookout():
    return DivergenceMonitor("straight", "rerun")


def over(lookout):
    return [name for name in ALL if lookout.is_over(name)]


def test_equal_steps_stop_nobody(lookout):
    for step, name in itertools.product(range(1, 9), ALL[:3]):
        lookout.tell(name, 1, row(step))
    assert over(lookout) == [] and lookout.found is None


@pytest.mark.parametrize("order", list(itertools.permutations(["straight", "rerun"])))
def test_a_second_straight_run_that_differs_ends_everything_whichever_came_first(lookout, order):
    for name, step in itertools.product(order, (1, 2)):
        lookout.tell(name, 1, row(step, "b" if (name, step) == ("rerun", 2) else "a"))
    assert lookout.found == StoppedAt(trajectory="rerun", run=1, step=2)
    assert over(lookout) == list(ALL)


def test_a_difference_before_the_first_kill_ends_everything_too(lookout):
    lookout.tell("straight", 1, row(1))
    lookout.tell("resumed", 1, row(1, "b"))
    assert over(lookout) == list(ALL)


def test_after_a_resume_the_second_straight_run_goes_on_until_it_has_passed_the_step(lookout):
    lookout.tell("rerun", 1, row(1))
    for step in range(1, 5):
        lookout.tell("straight", 1, row(step))
    lookout.tell("resumed", 2, row(3, "b"))
    assert lookout.found == StoppedAt(trajectory="resumed", run=2, step=3)
    assert over(lookout) == ["resumed", "control-param"]
    lookout.tell("rerun", 1, row(2))
    assert not lookout.is_over("rerun")
    lookout.tell("rerun", 1, row(3))
    assert over(lookout) == ["rerun", "resumed", "control-param"]


def test_a_pipeline_that_does_not_repeat_itself_is_found_after_a_difference_of_the_resume(lookout):
    for step in range(1, 5):
        lookout.tell("straight", 1, row(step))
    lookout.tell("resumed", 2, row(3, "b"))
    lookout.tell("rerun", 1, row(2, "c"))
    assert lookout.found == StoppedAt(trajectory="rerun", run=1, step=2)
    assert over(lookout) == list(ALL)


def test_steps_repeated_after_a_resume_are_compared_again(lookout):
    for step in (1, 2, 3):
        lookout.tell("straight", 1, row(step))
        lookout.tell("resumed", 1, row(step))
    lookout.tell("resumed", 2, row(2))
    assert lookout.found is None
    lookout.tell("resumed", 2, row(3, "b"))
    assert lookout.found == StoppedAt(trajectory="resumed", run=2, step=3)


@pytest.mark.parametrize(
    "line",
    [
        {"kind": "start", "step": 1},
        {"kind": "eval", "step": 1},
        {"kind": "step"},
        {},
        {"kind": "step", "step": "1"},
        {"kind": "step", "step": True},
    ],
)
def test_lines_that_are_no_steps_are_passed_over(lookout, line):
    lookout.tell("straight", 1, row(1))
    lookout.tell("rerun", 1, {**line, "streams": {"param": "b"}})
    assert lookout.found is None
