"""What is not as it was: the manifests of a record and of its replay, compared by deepdiff."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness.judge.replay_check import EnvironmentRow

MAX_ROWS = 200
_MAX_CHARS = 300


def environment_rows(archived: Mapping[str, Any], today: Mapping[str, Any]) -> tuple[EnvironmentRow, ...]:
    """Every value that differs, by its path (`environment.host.kernel`), sorted; at most MAX_ROWS.

    Args:
        archived: values that JSON can hold.
        today: the same of today.
    """
    from deepdiff import DeepDiff  # slow to import

    found = DeepDiff(dict(archived), dict(today), view="tree", verbose_level=2)
    rows = {}
    for levels in found.values():
        for level in levels:
            path = ".".join(str(part) for part in level.path(output_format="list"))
            rows[path] = EnvironmentRow(path=path, archived=_text(level.t1), today=_text(level.t2))
    return tuple(rows[path] for path in sorted(rows))[:MAX_ROWS]


def _text(value: object) -> str | None:
    """A value as a row shows it; None where there is none."""
    from deepdiff.helper import NotPresent

    if isinstance(value, NotPresent) or value is NotPresent or value is None:
        return None
    shown = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return shown if len(shown) <= _MAX_CHARS else f"{shown[:_MAX_CHARS]} ..."
