"""A signal at an exact point, answered as people write it: what was recorded before and after is as without it."""

import signal

import pytest

from tests.unit.recorder.comparison import content
from tests.unit.recorder.conftest import SCRIPTS

AT = {"kind": "signal", "signal": "SIGTERM", "step": 3, "grace_s": 9}
SAVED = ["save_begin", "save_end", "exit"]


def answered(new_trajectory, way, **fault):
    trajectory = new_trajectory()
    return trajectory.run(SCRIPTS / "answers.py", way, trajectory.output, faults=(AT | fault,))


@pytest.mark.parametrize(
    ("way", "code", "last_step", "then"),
    [
        ("default", -signal.SIGTERM, 3, []),
        ("flag", 0, 3, SAVED),
        ("inside", 3, 3, SAVED),
        ("raises", 130, 3, SAVED),
        ("ignored", 0, 6, ["exit"]),
    ],
)
def test_what_a_training_does_in_answer_is_recorded_and_changes_no_record(way, code, last_step, then, new_trajectory):
    told = answered(new_trajectory, way)
    assert told.returncode == code, told.stderr
    kinds = [event["kind"] for event in told.lines("events.jsonl")]
    assert [kind for kind in kinds[kinds.index("fault") + 1 :] if kind != "attributes"] == then
    (event,) = told.events("fault")
    assert (event["fault"], event["waiting"], event["handled"]) == (AT, False, way != "default")
    assert [event["step"] for event in told.events("save_end")] == [3] * then.count("save_end")
    assert max(told.steps()) == last_step
    whole = new_trajectory()
    straight = whole.run(SCRIPTS / "answers.py", way, whole.output).steps()
    assert {n: content(record) for n, record in told.steps().items()} == {n: content(straight[n]) for n in told.steps()}


def test_a_signal_in_the_middle_of_a_step_comes_right_after_its_micro_batch(new_trajectory):
    told = answered(new_trajectory, "inside", micro_batch=1)
    assert (told.returncode, max(told.steps())) == (3, 2)
    assert [event["step"] for event in told.events("save_end")] == [2]
