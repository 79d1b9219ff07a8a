"""SARIF 2.1.0: the structure that the specification asks for, and what code scanning reads of it."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

import pytest

from harness.documents.verdict import Review
from harness.report.sarif import render_sarif
from tests.made import hostile
from tests.made.review_data import NASTY, REVIEW

LEVELS = {"none", "note", "warning", "error"}


def sarif(review: Review = REVIEW, **options: str) -> dict[str, Any]:
    document = json.loads(render_sarif(review, version="1.2.3", **options))
    check(document)
    return document


def check(document: dict[str, Any]) -> None:
    """What sections 3.13 to 3.58 require of the properties that are used here."""
    assert set(document) == {"$schema", "version", "runs"} and document["version"] == "2.1.0"
    assert re.fullmatch(r"https://\S+sarif-schema-2\.1\.0\.json", document["$schema"])
    (run,) = document["runs"]
    assert set(run) == {"tool", "columnKind", "invocations", "results"}
    assert run["columnKind"] in ("unicodeCodePoints", "utf16CodeUnits")
    driver = run["tool"]["driver"]
    assert driver["name"] and re.fullmatch(r"\d+\.\d+\.\d+", driver["semanticVersion"])
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(ids) == len(set(ids))
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"] and rule["fullDescription"]["text"] and rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] in LEVELS
        assert re.match("https://", rule.get("helpUri", "https://"))
        assert all(isinstance(tag, str) for tag in rule["properties"]["tags"])
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is True
    for notification in invocation["toolExecutionNotifications"]:
        assert notification["level"] in LEVELS and notification["message"]["text"]
        check_locations(notification["locations"])
    for result in run["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in LEVELS and result["message"]["text"]
        assert all(isinstance(value, str) for value in result["partialFingerprints"].values())
        check_locations(result.get("locations", []))
        for suppression in result.get("suppressions", []):
            assert suppression["kind"] == "inSource" and suppression["justification"]


def check_locations(locations: list[dict[str, Any]]) -> None:
    for location in locations:
        physical = location["physicalLocation"]
        uri = physical["artifactLocation"]["uri"]
        assert re.fullmatch(r"(?:[A-Za-z0-9._~/-]|%[0-9A-F]{2})+", uri) and not uri.startswith("/")
        assert physical["artifactLocation"]["uriBaseId"] == "%SRCROOT%"
        if "region" in physical:
            assert physical["region"]["startLine"] >= 1 and physical["region"]["startColumn"] >= 1


def results(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {result["ruleId"]: result for result in document["runs"][0]["results"]}


def test_levels_follow_severity_and_certainty() -> None:
    found = results(sarif())
    assert {rule: result["level"] for rule, result in found.items()} == {
        "REP707": "error",
        "REP701": "warning",
        "REP712": "warning",
        "REP703": "warning",
        "REP706": "error",
    }


def test_places_are_relative_encoded_and_whole_files_have_no_region() -> None:
    found = results(sarif(base="pipelines/"))
    place = found["REP707"]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "pipelines/src/train.py"
    assert place["region"] == {"startLine": 12, "startColumn": 5}
    whole = found["REP703"]["locations"][0]["physicalLocation"]
    assert "region" not in whole and unquote(whole["artifactLocation"]["uri"]) == f"pipelines/{NASTY}"
    assert "locations" not in found["REP712"]


def test_what_a_person_allowed_is_suppressed_with_the_reason() -> None:
    assert results(sarif())["REP706"]["suppressions"] == [{"kind": "inSource", "justification": "known: issue 7"}]
    assert "suppressions" not in results(sarif())["REP707"]


def test_files_that_were_not_read_are_notifications() -> None:
    (told,) = sarif()["runs"][0]["invocations"][0]["toolExecutionNotifications"]
    assert told["message"]["text"] == "not read: one line of 50 MB"


def test_the_fingerprint_outlives_a_moved_line() -> None:
    findings = tuple(one.model_copy(update={"line": 99}) for one in REVIEW.findings)
    moved = REVIEW.model_copy(update={"findings": findings})
    before, after = results(sarif()), results(sarif(moved))
    assert all(before[rule]["partialFingerprints"] == after[rule]["partialFingerprints"] for rule in before)


@pytest.mark.parametrize("attack", hostile.ATTACKS)
def test_hostile_texts_keep_the_structure(attack: str) -> None:
    sarif(hostile.with_texts(REVIEW, attack))


def test_no_review_is_no_result() -> None:
    nothing = {"findings": (), "allowed": (), "unread": ()}
    assert sarif(REVIEW.model_copy(update=nothing))["runs"][0]["results"] == []
