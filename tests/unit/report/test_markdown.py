from __future__ import annotations

import re

import pytest

from harness.report.markdown import MAX_BYTES, escaped, render_summary
from tests.made import hostile
from tests.made import report_data as data

_OWN_TAGS = {
    "<br>",
    "<code>",
    "</code>",
    "<details>",
    "</details>",
    "<summary>",
    "</summary>",
    '<pre lang="diff">',
    "</pre>",
}


def test_the_summary_begins_with_the_verdict() -> None:
    first = render_summary(data.verdict(), data.manifest()).splitlines()[0]
    assert first == "## ✅ CERTIFIED: tiny"


def test_a_diverged_summary_says_where_why_and_how_to_mend_it() -> None:
    page = render_summary(data.verdict(data.DIVERGED), data.manifest())
    assert "The bits first differ at step 7, in stream rng" in page
    assert "The random number generators were not restored" in page
    assert "Save torch.get\\_rng\\_state()" in page
    assert "| <code>loss</code> | same bits at 24 of 24 steps | differs from step 7, at 18 of 18 steps |" in page


def test_an_inconclusive_summary_gives_its_reasons() -> None:
    page = render_summary(data.verdict(data.INCONCLUSIVE), None)
    assert "- straight, run 1: the engine stopped answering" in page
    assert "same bits" not in page


@pytest.mark.parametrize("attack", hostile.ATTACKS)
def test_hostile_texts_bring_no_markup(attack: str) -> None:
    page = render_summary(
        hostile.with_texts(data.verdict(data.DIVERGED), attack), hostile.with_texts(data.manifest(), attack)
    )
    page.encode()
    assert set(re.findall(r"<[^>]*>", page)) <= _OWN_TAGS
    assert "](" not in page.replace("\\](", "")
    assert "://" not in page
    assert "@" not in page
    headings = [line for line in page.splitlines() if line.startswith("#")]
    assert len(headings) == len({line.split(" ")[1] for line in headings}) or len(headings) <= 8


@pytest.mark.parametrize("attack", hostile.ATTACKS)
def test_hostile_texts_do_not_break_a_table(attack: str) -> None:
    page = render_summary(hostile.with_texts(data.verdict(data.DIVERGED), attack), None)
    width = 0
    for line in page.splitlines():
        cells = len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) if line.startswith("|") else 0
        assert not width or not cells or cells == width, line
        width = cells


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a*b_c", "a\\*b\\_c"),
        ("- x", "\\- x"),
        ("1. x", "1\\. x"),
        ("0.1.0", "0.1.0"),
        ("<b>", "&lt;b&gt;"),
    ],
)
def test_escaping_keeps_plain_text_plain(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_a_summary_of_any_size_stays_below_one_mebibyte() -> None:
    text = "|<&*" * 50_000
    verdict = data.verdict(
        data.DIVERGED,
        files=data.DIVERGED["files"][:1] * 3000,
        problems=[""] * 3000,
        not_checked=[""] * 3000,
        interruptions=data.DIVERGED["interruptions"][:1] * 3000,
    )
    page = render_summary(hostile.with_texts(verdict, text), None)
    assert len(page.encode()) < MAX_BYTES
    assert page.startswith("## ❌ DIVERGED")


def test_rows_that_are_not_shown_are_counted() -> None:
    row = data.CERTIFIED["files"][0]
    files = [row | {"path": f"checkpoints/{number}.pt"} for number in range(10_000)]
    page = render_summary(data.verdict(files=files, problems=["x"] * 201), None)
    assert "- 1 more are in verdict.json" in page and "9,800 more are in verdict.json." in page
    assert "more are in" not in render_summary(data.verdict(), None)
