"""SARIF 2.1.0 of a review, for code scanning.

Source: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0,
https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import hashlib
import json
from urllib.parse import quote

from pydantic import JsonValue

from harness.documents.verdict import Review, ReviewFinding
from harness.report.review import ReviewView
from harness.report.text import safe

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_MAX_ROWS = 5000
_LEVELS: dict[tuple[str | None, str], str] = {
    ("veto", "proven"): "error",
    ("veto", "possible"): "warning",
    ("warning", "proven"): "warning",
    ("warning", "possible"): "note",
}


def render_sarif(review: Review, *, version: str, base: str = "") -> str:
    """The review as one run of one tool, as indented JSON."""
    view = ReviewView(safe(review, max_rows=_MAX_ROWS))
    findings = [one.finding for one in (*view.findings, *view.allowed)]
    by_id = {one.rule: one for one in reversed(findings)}
    places = {rule: place for place, rule in enumerate(sorted(by_id))}
    rules: list[JsonValue] = [_rule(by_id[rule]) for rule in sorted(by_id)]
    unread: list[JsonValue] = [_notification(path, why, base) for path, why in view.unread]
    run: dict[str, JsonValue] = {
        "tool": {"driver": {"name": "repro-harness", "semanticVersion": version, "rules": rules}},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": unread}],
        "results": [_result(one, places[one.rule], base) for one in findings],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(one: ReviewFinding) -> JsonValue:
    return {
        "id": one.rule,
        "name": "".join(word.capitalize() for word in one.name.split("-")) or one.rule,
        "shortDescription": {"text": one.title or one.rule},
        "fullDescription": {"text": one.why or one.title or one.rule},
        "help": {"text": f"{one.fix}\n\n{one.source}".strip() or one.rule},
        **({"helpUri": one.source} if one.source.startswith("https://") else {}),
        "defaultConfiguration": {"level": _LEVELS.get((one.severity, "proven"), "note")},
        "properties": {"tags": ["reproducibility", *one.items]},
    }


def _result(one: ReviewFinding, place: int, base: str) -> JsonValue:
    key = "|".join((one.rule, one.path or "", one.message))
    result: dict[str, JsonValue] = {
        "ruleId": one.rule,
        "ruleIndex": place,
        "level": _LEVELS.get((one.severity, one.certainty), "note"),
        "message": {"text": f"{one.message}. {one.fix}" if one.fix else one.message or one.rule},
        "partialFingerprints": {"reproHarness/v1": hashlib.sha256(key.encode()).hexdigest()[:32]},
    }
    if one.path:
        location: dict[str, JsonValue] = {"artifactLocation": _artifact(one.path, base)}
        if one.line:
            location["region"] = {"startLine": one.line, "startColumn": one.column or 1}
        result["locations"] = [{"physicalLocation": location}]
    if one.allowed:
        result["suppressions"] = [{"kind": "inSource", "justification": one.allowed}]
    return result


def _artifact(path: str, base: str) -> JsonValue:
    return {"uri": quote(base + path, safe="/"), "uriBaseId": "%SRCROOT%"}


def _notification(path: str, reason: str, base: str) -> JsonValue:
    return {
        "level": "warning",
        "message": {"text": f"not read: {reason}"},
        "locations": [{"physicalLocation": {"artifactLocation": _artifact(path, base)}}],
    }
