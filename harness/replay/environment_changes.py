"""What differs between two manifests, value by value, compared by deepdiff."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness.documents.history import ValueChange
from harness.documents.verdict import EnvironmentChange

MAX_ROWS = 200
_MAX_CHARS = 300


def environment_rows(archived: Mapping[str, Any], today: Mapping[str, Any]) -> tuple[EnvironmentChange, ...]:
    """The values that differ from an archived manifest's; at most MAX_ROWS."""
    rows = changed_values(archived, today)[:MAX_ROWS]
    return tuple(EnvironmentChange(path=row.path, archived=row.before, today=row.after) for row in rows)


def changed_values(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[ValueChange, ...]:
    """Every value that differs, by its path (`environment.host.kernel`), sorted; sequences count by position."""
    from deepdiff import DeepDiff  # half a second of import that only this needs

    found = DeepDiff(dict(before), dict(after), view="tree", verbose_level=2, threshold_to_diff_deeper=0)
    rows = {}
    for levels in found.values():
        for level in levels:
            path = ".".join(str(part) for part in level.path(output_format="list"))
            rows[path] = ValueChange(path=path, before=_text(level.t1), after=_text(level.t2))
    return tuple(rows[path] for path in sorted(rows))


def _text(value: object) -> str | None:
    """A value as a row shows it; None where there is none."""
    from deepdiff.helper import NotPresent

    if isinstance(value, NotPresent) or value is NotPresent or value is None:
        return None
    shown = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return shown if len(shown) <= _MAX_CHARS else f"{shown[:_MAX_CHARS]} ..."
