"""GitHub's workflow commands: one line each, escaped so that nothing in a path or a message ends one."""

from __future__ import annotations

import re

import pytest

from harness.documents.verdict import Review
from harness.report.annotations import render_annotations
from tests.made import hostile
from tests.made.review_data import NASTY, REVIEW

COMMAND = re.compile(r"::(error|warning|notice) ((?:[a-zA-Z]+=[^,:\n\r]*,?)+)::([^\n\r]*)")


def commands(review: Review = REVIEW, **options: str) -> list[tuple[str, dict[str, str], str]]:
    """Read the commands as the runner does."""
    found = []
    for line in render_annotations(review, **options).splitlines():
        match = COMMAND.fullmatch(line)
        assert match, line
        pairs = dict(pair.split("=", 1) for pair in match[2].split(","))
        decoded = {
            key: value.replace("%3A", ":")
            .replace("%2C", ",")
            .replace("%0A", "\n")
            .replace("%0D", "\r")
            .replace("%25", "%")
            for key, value in pairs.items()
        }
        found.append((match[1], decoded, match[3]))
    return found


def test_a_proven_veto_is_an_error_with_file_line_and_title() -> None:
    kind, properties, message = commands()[0]
    assert kind == "error"
    assert properties == {
        "file": "src/train.py",
        "title": "REP707 rerun-unseeded (T1, V1)",
        "line": "12",
        "col": "5",
    }
    assert message.startswith("no seed. ") and "Fix: " in message


def test_what_is_possible_is_a_warning_and_what_is_allowed_a_notice() -> None:
    kinds = {properties["title"][:6]: kind for kind, properties, _ in commands()}
    assert kinds == {
        "REP707": "error",
        "REP701": "warning",
        "REP712": "warning",
        "REP703": "warning",
        "REP706": "notice",
        "not re": "notice",
    }


def test_a_hostile_path_comes_back_as_it_is() -> None:
    files = [properties.get("file") for _, properties, _ in commands(base="x/")]
    assert f"x/{NASTY}" in files and "x/big.py" in files and None in files


@pytest.mark.parametrize("attack", [*hostile.ATTACKS, "a\r\n::error::b", "%0A::set-env name=x::y"])
def test_no_text_begins_a_command_of_its_own(attack: str) -> None:
    review = hostile.with_texts(REVIEW, attack)
    lines = render_annotations(review).splitlines()
    assert len(lines) == 6
    assert all(COMMAND.fullmatch(line) for line in lines)
