"""Annotations of a review for GitHub Actions: workflow commands on stdout.

Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

from harness.documents.verdict import Review
from harness.report.review import FindingView, ReviewView
from harness.report.tables import Tone
from harness.report.text import line, safe

_COMMANDS: dict[Tone, str] = {"bad": "error", "unsure": "warning", "none": "notice"}
_MAX_ROWS = 1000


def render_annotations(review: Review, *, base: str = "") -> str:
    """One line for each finding and each file that was not read.

    Args:
        review: what was found.
        base: what stands before every path, so that it is seen from the repository's top.
    """
    view = ReviewView(safe(review, max_rows=_MAX_ROWS))
    lines = [_finding(one, base) for one in (*view.findings, *view.allowed)]
    lines += [_command("notice", {"file": base + path, "title": "not read"}, why) for path, why in view.unread]
    return "".join(f"{one}\n" for one in lines)


def _finding(one: FindingView, base: str) -> str:
    finding = one.finding
    message = f"{line(finding.message)}. {line(finding.why)} Fix: {line(finding.fix)}"
    if finding.allowed:
        message = f"{message} Allowed: {line(finding.allowed)}"
    properties = {"title": f"{finding.rule} {finding.name} ({one.items})"}
    if finding.path:
        properties = {"file": base + finding.path, **properties}
        if finding.line:
            properties |= {"line": str(finding.line), "col": str(finding.column or 1)}
    return _command(_COMMANDS[one.tone], properties, message)


def _command(name: str, properties: dict[str, str], message: str) -> str:
    pairs = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{name} {pairs}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
