"""Severities in pyproject.toml."""

import pytest

from harness.errors import UsageError
from harness.review.rules import parse_severities


def test_the_table_is_read_and_its_absence_is_nothing() -> None:
    text = '[tool.harness.review.severity]\nREP103 = "warning"\n"unseeded-numpy" = "off"\n'
    assert parse_severities(text, "p") == {"REP103": "warning", "unseeded-numpy": "off"}
    assert parse_severities("[project]\nname = 'x'\n", "p") == {}
    assert parse_severities("", "p") == {}
    assert parse_severities("tool = 3", "p") == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tool.harness", "no valid TOML"),
        ("[tool.harness]\nreview = 3", "no table"),
        ("[tool.harness.review]\nseverities = {}", "unknown key tool.harness.review.severities"),
        ("[tool.harness.review]\nseverity = 3", "no table of strings"),
        ("[tool.harness.review.severity]\nREP1 = 3", "no table of strings"),
        ("x = " + "[" * 5000, "no valid TOML"),
    ],
)
def test_anything_else_is_an_error_that_names_the_file(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse_severities(text, "pyproject.toml")
    assert "pyproject.toml" in caught.value.problem
