"""The review as a table, in the console's summary, in summary.md, in report.html and in junit.xml."""

from __future__ import annotations

import io

import pytest

from harness.documents.verdict import Review
from harness.report.console import print_summary
from harness.report.html import render_report
from harness.report.junit import render_review_junit
from harness.report.markdown import render_summary
from harness.report.review import ReviewView, print_review
from harness.review.finding import Finding
from tests.made import hostile
from tests.made import report_data as data
from tests.made.page_checks import Page
from tests.made.review_data import MEASURED, NASTY, REVIEW, review
from tests.unit.report.test_junit import check_structure, parsed, suite

VERDICT, MANIFEST = data.verdict(review=REVIEW.to_json()), data.manifest()
CLEAN = review(Finding(rule="REP703", certainty="proven", place=None, message="no such name"))


def printed(document: Review, stream: io.StringIO | None = None) -> str:
    stream = stream or io.StringIO()
    print_review(document, "tiny", stream=stream)
    return stream.getvalue()


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal], ids=["log", "terminal"])
def test_the_table_has_every_item_in_its_group_with_state_and_place(stream: type[io.StringIO]) -> None:
    shown = " ".join(printed(REVIEW, stream()).split())
    for group in ("Training", "Checkpoints", "Environment", "Tracking", "Vetoes"):
        assert group in shown
    for words in ("T1 ", "K5 ", "V5 ", "vetoed", "could not tell", "set here (src/train.py:1)", "does not apply"):
        assert words in shown
    assert "big.py one line of 50 MB" in shown
    assert shown.endswith("REVIEW: VETOED")


def test_a_finding_has_place_reason_fix_and_source() -> None:
    shown = printed(REVIEW)
    assert "src/train.py:12: REP707 veto (proven; T1, V1): no seed" in shown
    first = shown[shown.index("src/train.py:12: REP707") :].splitlines()[1:4]
    assert [line.split()[0] for line in first] == ["why", "fix", "source"]
    assert "measured: REP712 warning" in shown
    assert "allowed  known: issue 7" in shown


def test_the_last_line_says_whether_something_vetoes() -> None:
    assert printed(CLEAN).splitlines()[-1] == "REVIEW: no veto"
    assert printed(REVIEW).splitlines()[-1] == "REVIEW: VETOED"


def test_vetoes_come_first_and_states_are_counted() -> None:
    assert ReviewView(REVIEW).findings[0].finding.rule == "REP707"
    assert ReviewView(REVIEW).sentence == "vetoed: 2, could not tell: 18, warning: 4, holds: 2, does not apply: 1"
    assert sum(len(group.rows) for group in ReviewView(REVIEW).groups()) == 27


def test_what_a_probe_measured_is_told_by_phase_with_the_share_of_the_budget() -> None:
    shown = printed(REVIEW)
    assert "on NVIDIA Example, two steps at 128 tokens; budget 24.0 GiB; mitigations in force: bf16" in shown
    row = next(line for line in shown.splitlines() if line.startswith("as configured"))
    assert row.split("  ")[1:] and "3.0 GiB" in row and "12.0 GiB" in row and "50%" in row and "measured" in row
    estimate = review(measured={**MEASURED, "variants": [{**MEASURED["variants"][0], "is_estimate": True}]})
    assert "estimate" in printed(estimate)


@pytest.mark.parametrize("attack", hostile.ATTACKS)
def test_texts_of_a_review_are_shown_and_never_obeyed(attack: str) -> None:
    document = hostile.with_texts(REVIEW, attack)
    verdict = VERDICT.model_copy(update={"review": document})
    page = Page(render_report(verdict, MANIFEST))
    assert page.problems == []
    assert "\x1b" not in printed(document)
    check_structure(parsed(verdict))


def test_the_summary_of_a_certify_lists_what_is_open_and_what_was_allowed() -> None:
    stream = io.StringIO()
    print_summary(VERDICT, MANIFEST, {}, stream=stream)
    shown = stream.getvalue()
    assert "Review" in shown and "V1" in shown and "veto " in shown
    assert "known: issue 7" in shown
    assert "T2" not in shown.partition("Review")[2].partition("review ")[0]


def test_the_report_and_the_markdown_have_the_checklist_and_the_findings() -> None:
    page = Page(render_report(VERDICT, MANIFEST))
    assert page.problems == [] and "built-in" not in page.text and "T1, V1" in page.text
    for words in ("The review", "Checklist", "no seed", "known: issue 7", "one line of 50 MB", "NVIDIA Example"):
        assert words in page.text
    markdown = render_summary(VERDICT, MANIFEST)
    for words in ("### Review", "⛔ vetoed", "#### Allowed", "known: issue 7", "one line of 50 MB"):
        assert words in markdown
    assert "### Review" not in render_summary(data.verdict(), MANIFEST)
    assert "The review" not in Page(render_report(data.verdict(), MANIFEST)).text


def test_junit_fails_what_is_vetoed_and_skips_what_could_not_be_told() -> None:
    root = parsed(VERDICT, MANIFEST)
    vetoes = suite(root, "review.vetoes")
    cases = {(case.get("name") or "")[:2]: case for case in vetoes}
    failure = cases["V1"].find("failure")
    assert failure is not None and failure.get("type") == "VETOED"
    assert "fix:" in (failure.text or "") and "src/train.py:12" in (failure.text or "")
    assert cases["V2"].find("skipped") is not None and cases["V3"].find("system-out") is not None
    unread = suite(root, "review.unread")
    assert unread[0].get("name") == "big.py"


def test_a_review_by_itself_is_junit_too() -> None:
    import xml.etree.ElementTree as ET

    root = ET.fromstring(render_review_junit(REVIEW, "pipelines/train.py"))
    check_structure(root)
    assert root.get("name") == "harness review pipelines/train.py"
    assert int(root.get("failures") or 0) == 2


def test_a_path_with_a_line_break_stays_on_one_line() -> None:
    assert NASTY.replace("\n", " ") in printed(REVIEW)


def test_a_veto_of_no_item_fails_a_case_of_its_own() -> None:
    import xml.etree.ElementTree as ET

    veto = next(one for one in REVIEW.findings if one.severity == "veto" and one.certainty == "proven")
    review = REVIEW.model_copy(update={"findings": (veto.model_copy(update={"rule": "REP901", "items": ()}),)})
    (suite,) = (
        one for one in ET.fromstring(render_review_junit(review, "x")) if str(one.get("name")).endswith("findings")
    )
    assert suite.get("failures") == "1" and "REP901" in str(suite[0].get("name"))
