"""What differs between two manifests, value by value, compared by deepdiff."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from harness.documents.history import ValueChange
from harness.documents.verdict import EnvironmentChange

MAX_ROWS = 200
_MAX_CHARS = 300


def environment_rows(archived: Mapping[str, object], today: Mapping[str, object]) -> tuple[EnvironmentChange, ...]:
    """The values that differ from an archived manifest's; at most MAX_ROWS."""
    rows = changed_values(archived, today)[:MAX_ROWS]
    return tuple(EnvironmentChange(path=row.path, archived=row.before, today=row.after) for row in rows)


def changed_values(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[ValueChange, ...]:
    """Every value that differs, by its path (`environment.host.kernel`), sorted; sequences count by position."""
    from deepdiff import DeepDiff  # half a second of import that only this needs

    found = DeepDiff(dict(before), dict(after), view="tree", verbose_level=2, threshold_to_diff_deeper=0)
    rows = {}
    for levels in found.values():
        for level in levels:
            place = ".".join(str(part) for part in level.path(output_format="list"))
            # What came, went or changed as a whole is told value by value.
            left, right = dict(_leaves(level.t1, place)), dict(_leaves(level.t2, place))
            for path in left.keys() | right.keys():
                rows[path] = ValueChange(path=path, before=_text(left.get(path)), after=_text(right.get(path)))
    return tuple(rows[path] for path in sorted(rows) if rows[path].before is not None or rows[path].after is not None)


def _leaves(value: object, path: str) -> Iterator[tuple[str, object]]:
    """The values in a value, with their paths; none where there is no value."""
    from deepdiff.helper import notpresent

    if isinstance(value, (dict, list)):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(one, f"{path}.{key}")
    elif value is not notpresent:
        yield path, value


def _text(value: object) -> str | None:
    """A value as a row shows it; None where there is none."""
    if value is None:
        return None
    shown = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return shown if len(shown) <= _MAX_CHARS else f"{shown[:_MAX_CHARS]} ..."
