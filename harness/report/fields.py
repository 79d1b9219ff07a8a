"""Fields of a verdict or a manifest, read without trusting them.

A presenter must show whatever it is given: a value of a wrong type is an absent value, a control character is
shown and never sent, a list without end is cut. `bounded` is the first thing that every presenter calls.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_ROWS = 200
MAX_CHARS = 2000
MAX_DEPTH = 12
_LARGEST_BITS = 256
# C0 and C1 controls but tab and newline, lone surrogates, bidirectional overrides, non-characters.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def clean(text: str, max_chars: int = MAX_CHARS) -> str:
    """`text` with control characters made visible (escape as x1b), cut at `max_chars`, valid in UTF-8, XML and HTML."""
    if len(text) > max_chars:
        text = f"{text[:max_chars]} ... ({len(text) - max_chars} more characters)"
    return _UNSAFE.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), text)


def bounded(value: object, *, max_rows: int = MAX_ROWS, max_chars: int = MAX_CHARS, depth: int = MAX_DEPTH) -> Any:
    """A copy of a JSON value with clean keys and texts, at most `max_rows` entries a list or table, `depth` levels."""
    if isinstance(value, str):
        return clean(value, max_chars)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= _LARGEST_BITS else "a number of more than 256 bits"
    if depth <= 0:
        return "..."
    if isinstance(value, dict):
        entries = list(value.items())[:max_rows]
        return {
            clean(str(key), max_chars): bounded(entry, max_rows=max_rows, max_chars=max_chars, depth=depth - 1)
            for key, entry in entries
        }
    if isinstance(value, list | tuple):
        return [bounded(entry, max_rows=max_rows, max_chars=max_chars, depth=depth - 1) for entry in value[:max_rows]]
    return clean(str(value), max_chars)


def document(
    value: object, *, max_rows: int = MAX_ROWS, max_chars: int = MAX_CHARS, depth: int = MAX_DEPTH
) -> dict[str, Any]:
    """`bounded` for a verdict or a manifest: however few rows a presenter shows, none of its own keys is cut off."""
    entries = list(value.items())[:MAX_ROWS] if isinstance(value, dict) else []
    return {
        clean(str(key), max_chars): bounded(entry, max_rows=max_rows, max_chars=max_chars, depth=depth - 1)
        for key, entry in entries
    }


def table(value: object, *path: str) -> dict[str, Any]:
    """The table at `path` below `value`; empty if there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def rows(value: object) -> list[dict[str, Any]]:
    """The tables in a list; anything else in it, or no list, is left out."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list | tuple) else []


def texts(value: object) -> list[str]:
    """A list of texts; one text alone counts as a list of one."""
    if isinstance(value, str):
        value = [value]
    return [shown for entry in value if (shown := text(entry))] if isinstance(value, list | tuple) else []


def text(value: object) -> str:
    """A value as a person reads it; nothing for an absent one."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else f"{value:.10g}"
    if isinstance(value, int):
        return str(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def line(value: object) -> str:
    """`text` on one line."""
    return " ".join(text(value).split())


def flag(value: dict[str, Any], key: str) -> bool | None:
    """True, False, or None for anything else."""
    found = value.get(key)
    return found if isinstance(found, bool) else None


def integer(value: object) -> int | None:
    """An integer, or None for anything else; True is not one."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def number(value: object) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        as_float = float(value)
    except OverflowError:
        return None
    return as_float if math.isfinite(as_float) else None


def flat(value: object, prefix: str = "") -> list[tuple[str, str]]:
    """The leaves of a table as (dotted key, text), in the table's order; lists of plain values stay one leaf."""
    if isinstance(value, dict):
        leaves: list[tuple[str, str]] = []
        for key, entry in value.items():
            leaves += flat(entry, f"{prefix}.{key}" if prefix else str(key))
        return leaves
    if isinstance(value, list | tuple) and any(isinstance(entry, dict | list | tuple) for entry in value):
        leaves = []
        for position, entry in enumerate(value, start=1):
            leaves += flat(entry, f"{prefix}[{position}]")
        return leaves
    shown = ", ".join(text(entry) for entry in value) if isinstance(value, list | tuple) else text(value)
    return [(prefix, shown)] if shown else []


def count(value: object, noun: str) -> str:
    """`1 step`, `24 steps`, `1,204 steps`; nothing if there is no number."""
    amount = integer(value)
    if amount is None:
        return ""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def size(value: object) -> str:
    """Bytes in binary units: `512 B`, `1.5 MiB`; nothing if there is no number."""
    amount = number(value)
    if amount is None:
        return ""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(amount) < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def duration(value: object) -> str:
    """Seconds for a person: `0.8 s`, `42 s`, `3 min 05 s`, `2 h 10 min`; nothing if there is no number."""
    seconds = number(value)
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def moment(value: object) -> str:
    """A time of day for a person, as `2026-11-23 17:29 UTC`; anything else as it is."""
    shown = line(value)
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d(?:\.\d+)?)?(?:Z|\+00:00)", shown)
    return f"{found[1]} {found[2]} UTC" if found else shown


def short(value: object) -> str:
    """A digest cut to twelve digits behind its algorithm; any other text as it is."""
    shown = line(value)
    algorithm, colon, digits = shown.rpartition(":")
    if re.fullmatch(r"[0-9a-f]{20,}", digits):
        return f"{algorithm}{colon}{digits[:12]}"
    return shown
