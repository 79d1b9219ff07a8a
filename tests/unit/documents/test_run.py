"""Runs: which death is the planned one."""

import pytest

from harness.documents.run import Fault, RunRecord

FAULT = Fault(kind="after_step", step=2)


def record(**changes):
    fields = {
        "trajectory": "resumed",
        "number": 1,
        "mode": "run",
        "argv": ("python",),
        "faults": (FAULT,),
        "exit_code": 137,
        "oom_killed": False,
        "killed_by": "self",
        "error": None,
        "settings": {},
        "volatile": {},
        "seconds": 1.0,
    }
    return RunRecord(**{**fields, **changes})


def test_a_sigkill_at_a_planned_fault_is_the_planned_kill():
    assert record().is_planned_kill


@pytest.mark.parametrize("change", [{"oom_killed": True}, {"faults": ()}, {"killed_by": None}])
def test_lack_of_memory_no_fault_or_no_kill_is_not(change):
    assert not record(**change).is_planned_kill


def test_a_fault_is_told_to_the_recorder_with_the_fields_it_has():
    assert FAULT.to_json() == {"kind": "after_step", "step": 2, "by": "self"}
    assert Fault(kind="in_write", step=3, byte=9).to_json()["byte"] == 9
