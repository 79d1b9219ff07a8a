"""When a run that has no step any more is told of, and when it is ended."""

import re

from harness.runs import run_watch
from harness.runs.run_watch import Stall
from harness.runs.trajectory import run_straight
from tests.unit.runs.test_trajectory import context_of


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds
        return self


def test_a_person_is_told_once_after_two_minutes_without_a_first_step():
    clock = Clock()
    stall = Stall(7200, clock)
    assert not stall.is_note_due(stall.waited(0))
    clock.wait(121)
    assert stall.is_note_due(stall.waited(0))
    assert not stall.is_note_due(stall.waited(0))
    assert stall.waited(0) < stall.limit_s == 1800


def test_ten_times_the_median_step_is_long_and_one_slow_step_is_not():
    clock = Clock()
    stall = Stall(7200, clock)
    for step, seconds in enumerate([30, 10, 10, 90, 10], 1):
        clock.wait(seconds)
        assert not stall.is_note_due(stall.waited(step))
    clock.wait(99)
    assert not stall.is_note_due(stall.waited(5))
    clock.wait(2)
    assert stall.is_note_due(stall.waited(5))


def test_a_training_with_slow_steps_is_waited_for_longer():
    clock = Clock()
    stall = Stall(3600, clock)
    stall.waited(1)
    clock.wait(300)
    stall.waited(2)
    assert stall.limit_s == 6000


WRITES_ON = """
import os, sys, time
out = open(sys.argv[1] + '/big.bin', 'wb', buffering=0)
out.truncate(1 << 40)
for _ in range(600):
    out.write(os.urandom(1 << 20))
    time.sleep(0.02)
"""


def test_a_run_that_takes_more_disk_than_it_may_is_ended_and_the_disk_is_given_back(tmp_path):
    context = context_of(tmp_path, WRITES_ON)
    object.__setattr__(context, "experiment", context.experiment.model_copy(update={"output_gib": 0.02}))
    (record,) = run_straight(context, "straight")
    assert re.fullmatch(r"it wrote 0\.\d+ GiB, and output_gib is 0.02: what it wrote was removed", record.error)
    assert record.exit_code == 137 and record.killed_by is None
    assert list((tmp_path / "straight" / "output").iterdir()) == []


def test_a_run_that_is_over_before_anybody_looked_is_held_to_its_disk_as_well(tmp_path):
    context = context_of(tmp_path, WRITES_ON.replace("600", "30").replace("0.02", "0"))
    object.__setattr__(context, "experiment", context.experiment.model_copy(update={"output_gib": 0.02}))
    (record,) = run_straight(context, "straight")
    assert "output_gib is 0.02" in record.error


def test_a_run_that_stalls_is_ended_with_its_log_on_the_console(tmp_path, monkeypatch):
    for name, seconds in (("NOTE_S", 0.2), ("FIRST_NOTE_S", 0.2), ("STALLED_S", 1.0)):
        monkeypatch.setattr(run_watch, name, seconds)
    context = context_of(tmp_path, "import time; print('loading', flush=True); time.sleep(60)")
    short = context.experiment.model_copy(update={"timeout_s": 4})
    object.__setattr__(context, "experiment", short)
    (record,) = run_straight(context, "straight")
    assert record.error.startswith("stalled: no step yet for 1 s") and record.seconds < 4
    assert [text for kind, text in context.listener.told if kind == "note"][1:] in ([], ["  | loading"])
