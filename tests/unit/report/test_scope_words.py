"""Nobody may take the verdict of a prefix for that of the experiment, whichever document he looks at."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import pytest

from harness.report import wording
from harness.report.console import print_summary
from harness.report.html import render_report
from harness.report.junit import render_junit
from harness.report.markdown import render_summary
from tests.made import hostile
from tests.made import report_data as data

PREFIX = data.CERTIFIED | {"scope": {"steps": 5, "of": 24}}
TEXT = "the first 5 of 24 steps"


def printed(verdict: dict) -> str:
    stream = io.StringIO()
    print_summary(verdict, data.MANIFEST, {}, stream=stream)
    return stream.getvalue()


def test_the_last_line_of_the_console_has_the_extent() -> None:
    assert printed(PREFIX).splitlines()[-1] == f"VERDICT: CERTIFIED ({TEXT})"


def test_the_title_of_the_summary_and_of_the_report_has_it() -> None:
    assert render_summary(PREFIX, data.MANIFEST).splitlines()[0] == f"## ✅ CERTIFIED: tiny ({TEXT})"
    page = render_report(PREFIX, data.MANIFEST)
    assert f"<h1>tiny ({TEXT})</h1>" in page and f"<title>CERTIFIED: tiny ({TEXT})</title>" in page


def test_what_is_claimed_of_trainings_is_claimed_of_the_prefix_only() -> None:
    claims = wording.claims(PREFIX)
    assert len(claims) == 3
    assert [claim.startswith(f"Only for {TEXT}: ") for claim in claims] == [True, True, False]


def test_junit_names_it() -> None:
    names = [case.get("name", "") for case in ET.fromstring(render_junit(PREFIX, {})).iter("testcase")]
    assert f"tiny ({TEXT}) is certified" in names


def test_a_whole_training_has_no_such_words() -> None:
    whole = data.CERTIFIED | {"scope": None}
    for text in (printed(whole), render_summary(whole, {}), render_report(whole, {}), render_junit(whole, {})):
        assert " steps)" not in text.replace("24 steps)", "") and "Only for" not in text


@pytest.mark.parametrize("scope", ["x", [1], {"steps": None}, {"steps": {}, "of": "\x1b[2J"}, 7])
def test_a_scope_of_another_shape_is_still_one(scope: object) -> None:
    assert "steps" in printed(PREFIX | {"scope": scope}).splitlines()[-1]
    render_report(PREFIX | {"scope": scope}, {})


@pytest.mark.parametrize("attack", hostile.ATTACKS)
def test_hostile_numbers_stay_text(attack: str) -> None:
    verdict = PREFIX | {"scope": {"steps": attack, "of": attack}}
    assert printed(verdict).splitlines()[-1].startswith("VERDICT: CERTIFIED (the first ")
    assert "<script" not in render_report(verdict, {})
