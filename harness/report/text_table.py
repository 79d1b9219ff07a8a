"""A table as plain text, for streams on which rich cannot draw."""

from __future__ import annotations

import importlib.util
import itertools
import textwrap
from collections.abc import Sequence
from typing import TextIO


def can_draw(stream: TextIO) -> bool:
    """Whether rich may draw: it is installed, and this is a terminal that can show more than ASCII."""
    encoding = (getattr(stream, "encoding", None) or "ascii").lower()
    return stream.isatty() and "utf" in encoding and importlib.util.find_spec("rich") is not None


def text_table(rows: Sequence[Sequence[str]], header: Sequence[str], max_widths: Sequence[int | None] = ()) -> str:
    """Left-aligned columns two blanks apart, below a header and a rule.

    Args:
        rows: the cells; a line break in a cell gives it another line.
        header: one title per column.
        max_widths: where a column's cells are wrapped, in characters; None or left out for nowhere.
    """
    lines = [line for row in rows for line in _lines(row, max_widths)]
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in [header, rule, *lines])


def _lines(row: Sequence[str], max_widths: Sequence[int | None]) -> list[tuple[str, ...]]:
    """A row's lines; cells that have fewer than others are filled up."""
    cells = [_wrapped(cell, width) for cell, width in itertools.zip_longest(row, max_widths)]
    return list(itertools.zip_longest(*cells, fillvalue=""))


def _wrapped(cell: str, width: int | None) -> list[str]:
    return [part for line in cell.splitlines() for part in (textwrap.wrap(line, width) if width else [line])] or [""]
