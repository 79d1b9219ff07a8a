"""Nobody may take the verdict of a prefix for that of the experiment, whichever document he looks at."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

from harness.documents.verdict import Verdict
from harness.report.console import print_summary
from harness.report.html import render_report
from harness.report.junit import render_junit
from harness.report.markdown import render_summary
from harness.report.view import View
from tests.made import report_data as data

PREFIX = data.verdict(scope={"steps": 5, "of": 24})
TEXT = "the first 5 of 24 steps"


def printed(verdict: Verdict) -> str:
    stream = io.StringIO()
    print_summary(verdict, data.manifest(), {}, stream=stream)
    return stream.getvalue()


def test_the_last_line_of_the_console_has_the_extent() -> None:
    assert printed(PREFIX).splitlines()[-1] == f"VERDICT: CERTIFIED ({TEXT})"


def test_the_title_of_the_summary_and_of_the_report_has_it() -> None:
    assert render_summary(PREFIX, data.manifest()).splitlines()[0] == f"## ✅ CERTIFIED: tiny ({TEXT})"
    page = render_report(PREFIX, data.manifest())
    assert f"<h1>tiny ({TEXT})</h1>" in page and f"<title>CERTIFIED: tiny ({TEXT})</title>" in page


def test_what_is_claimed_of_trainings_is_claimed_of_the_prefix_only() -> None:
    claims = View(PREFIX, None).claims
    assert len(claims) == 3
    assert [claim.startswith(f"Only for {TEXT}: ") for claim in claims] == [True, True, False]


def test_junit_names_it() -> None:
    names = [case.get("name", "") for case in ET.fromstring(render_junit(PREFIX, None)).iter("testcase")]
    assert f"tiny ({TEXT}) is certified" in names


def test_a_whole_training_has_no_such_words() -> None:
    whole = data.verdict()
    for text in (printed(whole), render_summary(whole, None), render_report(whole, None), render_junit(whole, None)):
        assert " steps)" not in text.replace("24 steps)", "") and "Only for" not in text
