"""Turns test data into an attack: every text, or every value, replaced."""

from __future__ import annotations

import math
from typing import Any

SCRIPT = "<script>alert(1)</script>"
ATTACKS = (
    SCRIPT,
    '"><img src=x onerror=alert(1)>',
    "{{ 7*7 }}{% raw %}",
    "a | b ` c\n## heading\n- [x](javascript:alert(1)) ![i](https://example.org/x.png) @somebody",
    "\x1b[31mred\x00\x07\ud800\u202e\ufffe ]]> &amp; <!-- -->",
    "\\" * 40 + "|",
)
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**70,
    10**400,
    1e308,
    math.nan,
    math.inf,
    "",
    "text",
    [],
    {},
    [[]],
    [None, 3, "x"],
    {"a": {"b": []}},
    [{}],
    (1,),
)
_ENUMS = ("verdict",)


def with_texts(value: Any, text: str, keep: tuple[str, ...] = _ENUMS) -> Any:
    """`value` with each text replaced; the verdicts' words are kept, so that every section is still shown."""
    if isinstance(value, str):
        return text
    if isinstance(value, dict):
        return {key: entry if key in keep else with_texts(entry, text, keep) for key, entry in value.items()}
    if isinstance(value, list):
        return [with_texts(entry, text, keep) for entry in value]
    return value


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to everything in a document, the first entry of each list standing for all."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, entry in value.items():
            found += places(entry, (*path, key))
    elif isinstance(value, list) and value:
        found += places(value[0], (*path, 0))
    return found


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy with one place replaced."""
    if not path:
        return new
    if isinstance(value, dict):
        return {key: replaced(entry, path[1:], new) if key == path[0] else entry for key, entry in value.items()}
    return [replaced(entry, path[1:], new) if place == path[0] else entry for place, entry in enumerate(value)]


def without(value: Any, path: tuple[Any, ...]) -> Any:
    """A copy that lacks one place."""
    if len(path) == 1:
        if isinstance(value, dict):
            return {key: entry for key, entry in value.items() if key != path[0]}
        return value[:0]
    return replaced(value, path[:1], without(value[path[0]], path[1:]))
