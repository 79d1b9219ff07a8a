"""Annotations of a review for GitHub Actions: workflow commands on stdout.

Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

from typing import Any

from harness.report.fields import bounded
from harness.report.review import finding_rows, unread_rows

_COMMANDS = {"bad": "error", "unsure": "warning", "none": "notice"}
_MAX_ROWS = 1000


def render_annotations(review: dict[str, Any], *, base: str = "") -> str:
    """One line for each finding and each file that was not read.

    Args:
        review: as `harness review --format json` has it.
        base: what stands before every path, so that it is seen from the repository's top.
    """
    shown = bounded(review if isinstance(review, dict) else {}, max_rows=_MAX_ROWS)
    lines = [_finding(one, base) for one in finding_rows(shown)]
    lines += [_finding(one, base) for one in finding_rows(shown, "allowed")]
    lines += [_command("notice", {"file": base + path, "title": "not read"}, why) for path, why in unread_rows(shown)]
    return "".join(f"{one}\n" for one in lines)


def _finding(one: dict[str, Any], base: str) -> str:
    title = f"{one['rule']} {one['name']} ({one['items']})"
    message = f"{one['message']}. {one['why']} Fix: {one['fix']}"
    if one["allowed"]:
        message = f"{message} Allowed: {one['allowed']}"
    properties = {"title": title}
    if one["path"]:
        properties = {"file": base + one["path"], **properties}
        if one["line"] > 0:
            properties |= {"line": str(one["line"]), "col": str(max(1, one["column"]))}
    return _command(_COMMANDS[one["tone"]], properties, message)


def _command(name: str, properties: dict[str, str], message: str) -> str:
    pairs = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{name} {pairs}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
