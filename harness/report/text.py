"""Text for people: harmless whoever wrote it, and numbers in their units.

Documents may come from anybody. `safe` is applied to one before anything of it is shown.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from itertools import islice
from typing import Any, TypeVar, cast

from pydantic import BaseModel, JsonValue

MAX_ROWS = 200
MAX_CHARS = 2000
_LARGEST = 2**63 - 1
# C0 and C1 controls but tab and newline, lone surrogates, bidirectional overrides, non-characters.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
Value = TypeVar("Value")


def clean(text: str, max_chars: int = MAX_CHARS) -> str:
    """`text` with control characters made visible (escape as x1b), cut at `max_chars`, valid in UTF-8, XML and HTML."""
    if len(text) > max_chars:
        text = f"{text[:max_chars]} ... ({len(text) - max_chars} more characters)"
    return _UNSAFE.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), text)


def safe(value: Value, *, max_rows: int = MAX_ROWS, max_chars: int = MAX_CHARS) -> Value:
    """A copy of a model, a dataclass or a JSON value that can be shown.

    Texts are clean, lists and tables have at most `max_rows` entries, integers at most 64 bits.
    """

    def copy(one: Any) -> Any:
        if isinstance(one, str):
            return clean(one, max_chars)
        if isinstance(one, int) and not isinstance(one, bool):
            return max(-_LARGEST, min(one, _LARGEST))
        if isinstance(one, BaseModel):
            known = {name: copy(getattr(one, name)) for name in type(one).model_fields}
            return one.model_copy(update={**known, **copy(one.model_extra or {})})
        if dataclasses.is_dataclass(one) and not isinstance(one, type):
            return dataclasses.replace(one, **{f.name: copy(getattr(one, f.name)) for f in dataclasses.fields(one)})
        if isinstance(one, dict):
            return {clean(str(key), max_chars): copy(entry) for key, entry in islice(one.items(), max_rows)}
        if isinstance(one, list | tuple):
            return type(one)(copy(entry) for entry in one[:max_rows])
        return one

    return cast(Value, copy(value))


def line(text: str) -> str:
    """A text on one line."""
    return " ".join(text.split())


def leaf(value: JsonValue) -> str:
    """A JSON value that is no table, as a person reads it; nothing for null."""
    if isinstance(value, list):
        return ", ".join(leaf(entry) for entry in value)
    if value is None or isinstance(value, str):
        return (value or "").strip()
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def leaves(value: JsonValue, key: str = "") -> list[tuple[str, str]]:
    """The leaves of a table as (dotted key, text), sorted, without empty ones; sizes in their units."""
    if isinstance(value, dict):
        entries = [(f"{key}.{name}" if key else name, entry) for name, entry in sorted(value.items())]
    elif isinstance(value, list) and any(isinstance(entry, dict | list) for entry in value):
        entries = [(f"{key}[{place}]", entry) for place, entry in enumerate(value, start=1)]
    elif key.endswith("_bytes") and isinstance(value, int):
        return [(key.removesuffix("_bytes"), size(value))]
    else:
        return [(key, leaf(value))] if leaf(value) else []
    return [found for name, entry in entries for found in leaves(entry, name)]


def count(amount: int, noun: str) -> str:
    """`1 step`, `24 steps`, `1,204 steps`."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def few(names: Sequence[str], shown: int) -> str:
    """The first names of many: `a, b and 3 more`."""
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def size(amount: float | None) -> str:
    """Bytes in binary units: `512 B`, `1.5 MiB`; nothing for None."""
    if amount is None:
        return ""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(amount) < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def duration(seconds: float | None) -> str:
    """Seconds for a person: `0.8 s`, `42 s`, `3 min 05 s`, `2 h 10 min`; nothing where they are not known."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def moment(text: str) -> str:
    """A time for a person, as `2026-11-23 17:29 UTC`; anything else as it is."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d(?:\.\d+)?)?(?:Z|\+00:00)", text)
    return f"{found[1]} {found[2]} UTC" if found else text


def short(digest: str | None) -> str:
    """A digest cut to twelve digits behind its algorithm; any other text as it is, nothing for None."""
    algorithm, colon, digits = (digest or "").rpartition(":")
    return f"{algorithm}{colon}{digits[:12]}" if re.fullmatch(r"[0-9a-f]{20,}", digits) else digest or ""
