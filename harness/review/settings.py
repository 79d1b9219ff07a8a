"""What a project says about the review of its code, in its pyproject.toml.

In the table `tool.harness.review.severity`, a rule's id or name has one of veto, warning, note and off.
"""

from __future__ import annotations

import tomllib

from harness.errors import UsageError

MAX_BYTES = 1 << 20


def parse_severities(text: str, source: str) -> dict[str, str]:
    """The table `[tool.harness.review.severity]`; empty where there is none.

    Args:
        text: a pyproject.toml.
        source: what to call it.

    Raises:
        UsageError: it is no TOML, an unknown key stands beside the table, or something in it is no string.
    """
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{source} is no valid TOML: {str(error)[:200]}", "correct that line") from error
    table: object = document
    for key in ("tool", "harness", "review"):
        table = table.get(key, {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict):
        raise UsageError(f"{source}: tool.harness.review is no table", "write [tool.harness.review.severity]")
    if unknown := sorted(table.keys() - {"severity"}):
        raise UsageError(f"{source}: unknown key tool.harness.review.{unknown[0]}", "the only one is `severity`")
    severity = table.get("severity", {})
    if not isinstance(severity, dict) or not all(isinstance(value, str) for value in severity.values()):
        problem = f"{source}: tool.harness.review.severity is no table of strings"
        raise UsageError(problem, 'write REP103 = "warning"')
    return dict(severity)
