"""Who is stopped when, whichever of the trainings is ahead."""

import itertools

import pytest

from harness.documents.verdict import StoppedAt
from harness.runs.divergence_monitor import DivergenceMonitor

ALL = ("straight", "rerun", "resumed", "control-param")


def row(step, root="a"):
    return {"kind": "step", "step": step, "streams": {"param": root}, "loss": [], "lr": []}


@pytest.fixture
def monitor():
    return DivergenceMonitor("straight", "rerun")


def over(monitor):
    return [name for name in ALL if monitor.is_over(name)]


def test_equal_steps_stop_nobody(monitor):
    for step, name in itertools.product(range(1, 9), ALL[:3]):
        monitor.observe(name, 1, row(step))
    assert over(monitor) == [] and monitor.found is None


@pytest.mark.parametrize("order", list(itertools.permutations(["straight", "rerun"])))
def test_a_second_straight_run_that_differs_ends_everything_whichever_came_first(monitor, order):
    for name, step in itertools.product(order, (1, 2)):
        monitor.observe(name, 1, row(step, "b" if (name, step) == ("rerun", 2) else "a"))
    assert monitor.found == StoppedAt(trajectory="rerun", run=1, step=2)
    assert over(monitor) == list(ALL)


def test_a_difference_before_the_first_kill_ends_everything_too(monitor):
    monitor.observe("straight", 1, row(1))
    monitor.observe("resumed", 1, row(1, "b"))
    assert over(monitor) == list(ALL)


def test_after_a_resume_the_second_straight_run_goes_on_until_it_has_passed_the_step(monitor):
    monitor.observe("rerun", 1, row(1))
    for step in range(1, 5):
        monitor.observe("straight", 1, row(step))
    monitor.observe("resumed", 2, row(3, "b"))
    assert monitor.found == StoppedAt(trajectory="resumed", run=2, step=3)
    assert over(monitor) == ["resumed", "control-param"]
    monitor.observe("rerun", 1, row(2))
    assert not monitor.is_over("rerun")
    monitor.observe("rerun", 1, row(3))
    assert over(monitor) == ["rerun", "resumed", "control-param"]


def test_a_pipeline_that_does_not_repeat_itself_is_found_after_a_difference_of_the_resume(monitor):
    for step in range(1, 5):
        monitor.observe("straight", 1, row(step))
    monitor.observe("resumed", 2, row(3, "b"))
    monitor.observe("rerun", 1, row(2, "c"))
    assert monitor.found == StoppedAt(trajectory="rerun", run=1, step=2)
    assert over(monitor) == list(ALL)


def test_steps_repeated_after_a_resume_are_compared_again(monitor):
    for step in (1, 2, 3):
        monitor.observe("straight", 1, row(step))
        monitor.observe("resumed", 1, row(step))
    monitor.observe("resumed", 2, row(2))
    assert monitor.found is None
    monitor.observe("resumed", 2, row(3, "b"))
    assert monitor.found == StoppedAt(trajectory="resumed", run=2, step=3)


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
def test_lines_that_are_no_steps_are_passed_over(monitor, line):
    monitor.observe("straight", 1, row(1))
    monitor.observe("rerun", 1, {**line, "streams": {"param": "b"}})
    assert monitor.found is None
