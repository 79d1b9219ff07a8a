"""JSON documents as paths and canonical texts; where two readers could read one differently, it is not read.

A number's text is what the file has, digit by digit: 1e999, -0.0 and 1.00 are not what they round to.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

from harness.evidence.budget import Budget
from harness.evidence.tensor_file import path_join, scalar_text

_MAX_DEPTH = 64
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


def read_json(data: bytes, volatile: frozenset[str], budget: Budget, *, has_rows: bool) -> JsonValues:
    """The values of a JSON document, or of one in each line.

    Raises:
        ValueError: it is no JSON, too large, or in doubt: a key twice, or text that is no Unicode.
        RecursionError: it is nested too deeply.
        EvidenceError: it describes more than the budget allows.
    """
    budget.spend(data.count(b",") + data.count(b"[") + data.count(b"{") + (data.count(b"\n") if has_rows else 0))
    text = data.decode("utf-8")
    reader = _Reader(volatile, budget)
    if not has_rows:
        return JsonValues(reader.values_of(_parsed(text)), reader.left_out)
    values: list[tuple[str, str]] = []
    seen: set[bytes] = set()
    num_copies: dict[str, int] = {}
    for key, row in _rows(text):
        flat = reader.values_of(row)
        digest = hashlib.sha256(repr((key, flat)).encode("utf-8", "surrogatepass")).digest()
        if digest in seen:
            continue  # a step that is written again with the same values, as after a resume, counts once
        seen.add(digest)
        num_copies[key] = number = num_copies.get(key, 0) + 1
        prefix = key if number == 1 else f"{key}#{number}"
        budget.spend(0, len(prefix) * len(flat))
        values += [(f"{prefix}/{path}" if path else prefix, text) for path, text in flat]
    return JsonValues(values, reader.left_out)


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


def _rows(text: str) -> Iterator[tuple[str, Any]]:
    """Each line's value, called `step=<n>` where it has an integer step, else `row=<i>`."""
    num_unnamed = 0
    for line in StringIO(text, newline="\n"):
        if not line.strip():
            continue
        row = _parsed(line)
        step = row.get("step") if isinstance(row, dict) else None
        if isinstance(step, _Number) and step.removeprefix("-").isdigit() and len(step) < 19:
            yield f"step={step}", row
        else:
            num_unnamed += 1
            yield f"row={num_unnamed}", row


class _Reader:
    """Takes values apart; `left_out` counts what each volatile key took out."""

    def __init__(self, volatile: frozenset[str], budget: Budget) -> None:
        self._volatile, self._budget = volatile, budget
        self._found: list[tuple[str, str]] = []
        self.left_out: dict[str, int] = {}

    def values_of(self, root: Any) -> list[tuple[str, str]]:
        """(path, text) of everything in a value that holds nothing else."""
        self._found = []
        self._visit(root, "", 0)
        return self._found

    def _visit(self, value: Any, path: str, depth: int) -> None:
        self._budget.spend(0, len(path))
        if path and self._volatile and (key := volatile_key(path, self._volatile)) is not None:
            self.left_out[key] = self.left_out.get(key, 0) + 1
            return
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                self._visit(inner, path_join(path, _key(key)), depth + 1)
        elif isinstance(value, list) and value:
            for index, inner in enumerate(value):
                self._visit(inner, path_join(path, str(index)), depth + 1)
        else:
            self._found.append((path, "{}" if value == {} else "[]" if value == [] else _text(value)))


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
