"""SARIF 2.1.0 of a review, for code scanning.

Source: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0,
https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import quote

from harness.report.fields import bounded
from harness.report.review import finding_rows, unread_rows

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_MAX_ROWS = 5000
_LEVELS = {
    ("veto", "proven"): "error",
    ("veto", "possible"): "warning",
    ("warning", "proven"): "warning",
    ("warning", "possible"): "note",
}


def render_sarif(review: dict[str, Any], *, version: str, base: str = "") -> str:
    """The review as one run of one tool, as indented JSON.

    Args:
        review: as `harness review --format json` has it.
        version: the harness's.
        base: what stands before every path, so that it is seen from the repository's top: `pipelines/` or "".
    """
    shown = bounded(review if isinstance(review, dict) else {}, max_rows=_MAX_ROWS)
    found = [*finding_rows(shown), *finding_rows(shown, "allowed")]
    rules = _rules(found)
    places = {rule["id"]: place for place, rule in enumerate(rules)}
    run = {
        "tool": {"driver": {"name": "repro-harness", "semanticVersion": version, "rules": rules}},
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": True,
                "toolExecutionNotifications": [_notification(path, why, base) for path, why in unread_rows(shown)],
            }
        ],
        "results": [_result(one, places, base) for one in found],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rules(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    by_id = {one["rule"]: one for one in reversed(found)}
    return [
        {
            "id": one["rule"],
            "name": "".join(word.capitalize() for word in one["name"].split("-")) or one["rule"],
            "shortDescription": {"text": one["title"] or one["rule"]},
            "fullDescription": {"text": one["why"] or one["title"] or one["rule"]},
            "help": {"text": f"{one['fix']}\n\n{one['source']}".strip() or one["rule"]},
            **({"helpUri": one["source"]} if one["source"].startswith("https://") else {}),
            "defaultConfiguration": {"level": _level(one, "proven")},
            "properties": {"tags": ["reproducibility", *one["items"].split(", ")]},
        }
        for _, one in sorted(by_id.items())
    ]


def _result(one: dict[str, Any], places: dict[str, int], base: str) -> dict[str, Any]:
    text = f"{one['message']}. {one['fix']}" if one["fix"] else one["message"] or one["rule"]
    key = "|".join((one["rule"], one["path"], one["message"]))
    result: dict[str, Any] = {
        "ruleId": one["rule"],
        "ruleIndex": places[one["rule"]],
        "level": _level(one, one["certainty"]),
        "message": {"text": text},
        "partialFingerprints": {"reproHarness/v1": hashlib.sha256(key.encode()).hexdigest()[:32]},
    }
    if one["path"]:
        result["locations"] = [{"physicalLocation": _location(one, base)}]
    if one["allowed"]:
        result["suppressions"] = [{"kind": "inSource", "justification": one["allowed"]}]
    return result


def _location(one: dict[str, Any], base: str) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": _artifact(one["path"], base)}
    if one["line"] > 0:
        location["region"] = {"startLine": one["line"], "startColumn": max(1, one["column"])}
    return location


def _artifact(path: str, base: str) -> dict[str, Any]:
    return {"uri": quote(base + path, safe="/"), "uriBaseId": "%SRCROOT%"}


def _notification(path: str, reason: str, base: str) -> dict[str, Any]:
    return {
        "level": "warning",
        "message": {"text": f"not read: {reason}"},
        "locations": [{"physicalLocation": {"artifactLocation": _artifact(path, base)}}],
    }


def _level(one: dict[str, Any], certainty: str) -> str:
    return _LEVELS.get((one["severity"], certainty), "note")
