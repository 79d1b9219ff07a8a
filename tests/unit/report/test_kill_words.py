"""What every document says of a signal that was answered, and of a sweep."""

import io
import re

import pytest

from harness.report.console import print_summary
from harness.report.html import render_report
from harness.report.junit import render_junit
from harness.report.markdown import render_summary
from tests.made import report_data as data

ANSWER = {"grace_s": 30, "ended": "by itself", "saved": "a.pt", "saved_after_step": 9, "was_resumed_from": True}
POINT = {
    "trajectory": "swept-007",
    "kind": "micro_batch",
    "step": 13,
    "micro_batch": 3,
    "write": None,
    "verdict": "DIVERGED",
    "reason": "grad differs",
    "resumed_after_step": 10,
    "first_step": 11,
    "stream": "grad",
    "cause": "accumulated_gradients_lost",
}
SWEEP = {"num_asked": 9, "num_points": 9, "num_possible": 68, "num_held": 8, "num_began_again": 2, "bound": None}


def documents(**changes):
    verdict, stream = data.verdict(**changes), io.StringIO()
    print_summary(verdict, data.manifest(), {}, stream=stream)
    texts = (stream.getvalue(), render_report(verdict, data.manifest()), render_summary(verdict, data.manifest()))
    return [re.sub(r"[\s`\\]+|<[^>]*>", " ", text) for text in texts]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({}, "SIGTERM, it ended by itself (exit code 0), saved a.pt after step 9, which was resumed from"),
        ({"was_resumed_from": False}, "which was NOT resumed from"),
        ({"saved": None, "saved_after_step": None, "was_resumed_from": None}, "nothing was saved in answer"),
    ],
)
def test_how_a_training_answered_stands_in_one_line(answer, words):
    told = data.interruption("signal", 9, 1, 9, signal="SIGTERM", exit_code=0, under_signal={**ANSWER, **answer})
    for text in documents(interruptions=[told]):
        assert words.split()[-1] in text and "after the update of step 9" in " ".join(text.split())
    assert words in render_junit(data.verdict(interruptions=[told]), data.manifest()).replace("&#10;", " ")


def test_each_point_of_a_sweep_that_did_not_hold_is_told_and_how_many_did():
    for text in documents(sweep={**SWEEP, "not_held": [POINT]}):
        assert "8 of 9 points held, drawn from 68" in " ".join(text.split())
        for word in ("swept-007", "grad at step 11", "accumulated"):
            assert word in " ".join(text.split())
