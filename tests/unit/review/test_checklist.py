"""The checklist: every step of the order in which an item is decided."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from harness.documents.verdict import UnreadFile
from harness.errors import UsageError
from harness.review.checklist import GROUPS, ITEMS, TITLES, forbids_run, judge_checklist
from harness.review.finding import Finding, Item, Place, Showing, StaticReview
from harness.review.rules import RULES as ALL_RULES
from harness.review.rules import Rule, severities_of


def rule(number: int, severity: str, *items: str) -> Rule:
    return Rule(
        id=f"REP{number}",
        name=f"rule-{number}",
        severity=severity,
        items=items,
        title="t",
        why="w",
        fix="f",
        source="https://docs.python.org/3/",
    )


KNOWN = (rule(1, "veto", "T1", "V1"), rule(2, "warning", "T1", "V1"), rule(3, "note", "T1", "V1"))
RULES = {one.id: one for one in KNOWN}
PLACE = Place(path="train.py", line=7)
VETO = Finding(rule="REP1", certainty="proven", place=PLACE, message="random is not seeded")
POSSIBLE = Finding(rule="REP1", certainty="possible", place=PLACE, message="random may not be seeded")
WARNING = Finding(rule="REP2", certainty="proven", place=PLACE, message="seeded late")
NOTE = Finding(rule="REP3", certainty="proven", place=PLACE, message="by the way")
ALLOWED = Finding(rule="REP1", certainty="proven", place=PLACE, message="random is not seeded", allowed="a demo")


def shows(state: str, *, measured: bool = False, text: str = "seen") -> Showing:
    return Showing(item="V1", state=state, text=text, is_measured=measured)


def judged(*said: Finding | Showing, severities: dict[str, str] | None = None):
    findings = tuple(one for one in said if isinstance(one, Finding))
    showings = tuple(one for one in said if isinstance(one, Showing))
    static = StaticReview(findings=findings, showings=showings, num_files=1)
    return judge_checklist(static, RULES, severities_of(RULES, severities or {}))


def state(*said: Finding | Showing, item: str = "V1", **changes: object) -> str:
    return next(one.state for one in judged(*said, **changes).checklist if one.id == item)


def test_every_item_has_a_title_and_a_group() -> None:
    assert set(TITLES) == set(get_args(Item)) == set(ITEMS)
    assert {item[0] for item in ITEMS} == set(GROUPS)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ((), "could not tell"),
        ((VETO, shows("holds", measured=True)), "vetoed"),
        ((VETO, WARNING), "vetoed"),
        ((WARNING, shows("holds", measured=True)), "warning"),
        ((POSSIBLE, shows("holds", measured=True)), "holds"),
        ((POSSIBLE, shows("does not apply", measured=True)), "does not apply"),
        ((POSSIBLE, shows("holds")), "could not tell"),
        ((shows("unknown"), shows("holds")), "could not tell"),
        ((shows("unknown", measured=True), shows("holds")), "holds"),
        ((shows("holds"), shows("does not apply")), "holds"),
        ((shows("does not apply"),), "does not apply"),
        ((shows("holds", measured=True), shows("does not apply", measured=True)), "holds"),
        ((NOTE,), "could not tell"),
        ((NOTE, shows("holds")), "holds"),
        ((ALLOWED,), "warning"),
        ((ALLOWED, shows("holds")), "holds"),
        ((ALLOWED, POSSIBLE), "could not tell"),
    ],
)
def test_the_first_that_applies_decides(said: tuple, expected: str) -> None:
    assert state(*said) == expected


def test_a_veto_shows_on_every_item_that_its_rule_names() -> None:
    assert state(VETO, item="T1") == "vetoed"
    assert state(VETO, item="T2") == "could not tell"


def test_vetoes_are_told_with_their_place_and_allowed_ones_are_none() -> None:
    assert judged(VETO, ALLOWED).vetoes == ("V1: REP1 random is not seeded (train.py:7)",)
    assert judged(ALLOWED, POSSIBLE, WARNING).vetoes == ()


def test_what_could_not_be_told_of_the_vetoes_is_told() -> None:
    undecided = judged(shows("holds")).undecided
    assert [text[:2] for text in undecided] == ["V2", "V3", "V4", "V5"]
    assert undecided[2].startswith(f"V4 ({TITLES['V4']}) could not be told: nothing")


def test_a_project_changes_severities_by_id_or_name() -> None:
    assert state(VETO, severities={"REP1": "warning"}) == "warning"
    assert judged(VETO, severities={"rule-1": "off"}).findings == ()
    assert state(WARNING, severities={"rule-2": "veto"}) == "vetoed"
    with pytest.raises(UsageError, match="no rule is called"):
        judged(severities={"REP9": "off"})


def test_what_a_project_weakens_is_told() -> None:
    review = judged(VETO, severities={"REP1": "off", "REP2": "note", "REP3": "note"})
    assert review.weakened == (
        "REP1 (rule-1) is off in pyproject.toml, by default veto",
        "REP2 (rule-2) is note in pyproject.toml, by default warning",
    )
    assert judged(severities={"rule-2": "veto"}).weakened == ()
    assert review.to_json()["weakened"] == list(review.weakened)


def test_findings_are_sorted_and_said_once() -> None:
    late = Finding(rule="REP2", certainty="proven", place=Place(path="a.py", line=9), message="m")
    early = Finding(rule="REP2", certainty="proven", place=Place(path="a.py", line=2), message="m")
    assert [one.line for one in judged(late, early, late).findings] == [2, 9]


def test_the_json_has_all_and_equal_reviews_give_equal_bytes() -> None:
    static = StaticReview(
        findings=(VETO, ALLOWED, WARNING),
        showings=(shows("holds", measured=True),),
        unread=(UnreadFile(path="z.py", reason="50 MB"), UnreadFile(path="a.py", reason="syntax")),
        num_files=3,
    )
    document = judge_checklist(static, RULES, severities_of(RULES, {})).to_json()
    assert json.loads(json.dumps(document)) == document
    assert [row["id"] for row in document["checklist"]] == list(ITEMS)
    assert [finding["rule"] for finding in document["findings"]] == ["REP1", "REP2"]
    assert [(finding["rule"], finding["allowed"]) for finding in document["allowed"]] == [("REP1", "a demo")]
    assert document["unread"] == [{"path": "a.py", "reason": "syntax"}, {"path": "z.py", "reason": "50 MB"}]
    first = document["findings"][0]
    assert (first["path"], first["line"], first["column"], first["severity"], first["certainty"]) == (
        "train.py",
        7,
        1,
        "veto",
        "proven",
    )
    row = next(row for row in document["checklist"] if row["id"] == "V1")
    assert row["shown"] == [
        {"text": "REP1 random is not seeded", "path": "train.py", "line": 7, "measured": False}
    ] and row["rules"] == ["REP1", "REP2"]


def test_seeds_from_what_the_runs_vary_do_not_keep_them_from_taking_place():
    for rule, forbids in (("REP105", True), ("REP113", False), ("REP114", False), ("REP115", True)):
        found = Finding(rule=rule, certainty="proven", place=Place(path="a.py", line=1), message="m")
        review = judge_checklist(StaticReview(findings=(found,)), ALL_RULES, severities_of(ALL_RULES, {}))
        assert len(review.vetoes) == 1
        assert forbids_run(review) is forbids
