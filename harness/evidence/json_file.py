"""JSON documents as paths and canonical texts; where two readers could read one differently, it is not read.

A number's text is what the file has, digit by digit: 1e999, -0.0 and 1.00 are not what they round to.
"""

from __future__ import annotations

import fnmatch
import json
from dataclasses import dataclass, field
from typing import Any

from harness.evidence.tensor_file import path_join, scalar_text

_MAX_DEPTH = 64
_MAX_VALUES = 4_000_000
_MAX_DIGITS = 1_000
_NO_NUMBERS = {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}


@dataclass(slots=True)
class JsonValues:
    """What a document holds: (path, text) of each value, and how many values each volatile key took out."""

    values: list[tuple[str, str]] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)


class _Number(str):
    """A number, as its text."""

    __slots__ = ()


def read_json(data: bytes, volatile: frozenset[str], *, has_rows: bool) -> JsonValues:
    """The values of a JSON document, or of one in each line.

    Raises:
        ValueError: it is no JSON, too large, or in doubt: a key twice, or text that is no Unicode.
        RecursionError: it is nested too deeply.
    """
    text = data.decode("utf-8")
    found = JsonValues()
    if not has_rows:
        found.values = _flatten(_parsed(text), "", volatile, found.left_out)
        return found
    seen: dict[str, list[tuple[tuple[str, str], ...]]] = {}
    for key, row in _rows(text):
        flat = tuple(_flatten(row, "", volatile, found.left_out))
        copies = seen.setdefault(key, [])
        if flat in copies:
            continue  # a step that is written again with the same values, as after a resume, counts once
        copies.append(flat)
        prefix = key if len(copies) == 1 else f"{key}#{len(copies)}"
        found.values += [(f"{prefix}/{path}" if path else prefix, text) for path, text in flat]
        if len(found.values) > _MAX_VALUES:
            raise ValueError("too many values")
    return found


def volatile_key(path: str, keys: frozenset[str]) -> str | None:
    """The volatile key that takes out a path: one of its parts, or a pattern for the whole of it."""
    parts = path.split("/")
    patterns = (key for key in sorted(keys) if "/" in key or "*" in key)
    return next(
        (key for key in sorted(keys) if key in parts), next((k for k in patterns if fnmatch.fnmatchcase(path, k)), None)
    )


def _parsed(text: str) -> Any:
    return json.loads(text, parse_float=_Number, parse_int=_Number, parse_constant=_Number, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found


def _rows(text: str) -> list[tuple[str, Any]]:
    """Each line's value, called `step=<n>` where it has an integer step, else `row=<i>`."""
    rows: list[tuple[str, Any]] = []
    num_unnamed = 0
    for line in text.split("\n"):
        if not line.strip():
            continue
        row = _parsed(line)
        step = row.get("step") if isinstance(row, dict) else None
        if isinstance(step, _Number) and step.removeprefix("-").isdigit() and len(step) < 19:
            rows.append((f"step={step}", row))
        else:
            num_unnamed += 1
            rows.append((f"row={num_unnamed}", row))
    return rows


def _flatten(
    root: Any, path: str, volatile: frozenset[str], left_out: dict[str, int], depth: int = 0
) -> list[tuple[str, str]]:
    if path and volatile and (key := volatile_key(path, volatile)) is not None:
        left_out[key] = left_out.get(key, 0) + 1
        return []
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(root, dict) and root:
        pairs = [(path_join(path, _key(key)), value) for key, value in root.items()]
    elif isinstance(root, list) and root:
        pairs = [(path_join(path, str(index)), value) for index, value in enumerate(root)]
    else:
        return [(path, "{}" if root == {} else "[]" if root == [] else _text(root))]
    values = [entry for key, value in pairs for entry in _flatten(value, key, volatile, left_out, depth + 1)]
    if len(values) > _MAX_VALUES:
        raise ValueError("too many values")
    return values


def _key(key: str) -> str:
    """A key that no place in a list looks like."""
    if not key.isascii():
        key.encode("utf-8")  # half of a pair of surrogates is an error
    return f'"{key}"' if key.isdigit() or key.startswith('"') else key


def _text(value: Any) -> str:
    if not isinstance(value, _Number):
        return scalar_text(value)
    if len(value) > _MAX_DIGITS:
        raise ValueError(f"a number of more than {_MAX_DIGITS} digits")
    return _NO_NUMBERS.get(value, str(value))
