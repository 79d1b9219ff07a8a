"""The printer: tables and labelled lines on the console. On a terminal rich draws them, elsewhere they are plain."""

from __future__ import annotations

import importlib.util
import itertools
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from harness.report.tables import State, Table, Tone
from harness.report.text import line

if TYPE_CHECKING:
    from rich.console import Console


STYLES: dict[Tone, str] = {"good": "green", "bad": "red", "unsure": "yellow", "none": "bright_black"}
_WIDTHS = {"long": 76, "text": 60}


def rich_console(stream: TextIO) -> Console:
    """A console that takes no text for markup."""
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False)


class Printer:
    """Writes to one stream, stdout for None; every text is safe to show already."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._console = rich_console(self._stream) if can_draw(self._stream) else None

    def line(self, shown: str = "", style: str = "") -> None:
        """One line, whatever the stream's encoding: what it cannot show is written as an escape."""
        if self._console and style:
            from rich.text import Text

            self._console.print(Text(shown, style=style), soft_wrap=True)
            return
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(shown.rstrip().encode(encoding, "backslashreplace").decode(encoding) + "\n")
        self._stream.flush()

    def table(self, table: Table) -> None:
        """A table with its title; nothing for one without rows."""
        shown = table.filled
        if not shown.rows:
            return
        if self._console:
            self._draw(self._console, shown)
        else:
            if shown.title:
                self.line(f"\n{shown.title}")
            rows = [[str(cell) for cell in row] for row in shown.rows]
            titles = [column.title.lower() for column in shown.columns]
            for text in text_table(rows, titles, [_WIDTHS.get(one.kind) for one in shown.columns]).splitlines():
                self.line(text)
        if shown.left_out:
            self.line(f"... and {shown.left_out:,} more")

    def pairs(self, pairs: Iterable[tuple[str, str]], styles: dict[str, str] | None = None) -> None:
        """Labels and texts below each other; those without a text are left out."""
        kept = [(label, line(shown)) for label, shown in pairs if shown]
        width = max((len(label) for label, _ in kept), default=0)
        for label, shown in kept:
            self.line(f"{label:<{width}}  {shown}", (styles or {}).get(label, ""))

    def _draw(self, console: Console, table: Table) -> None:
        from rich import box
        from rich.table import Table as Drawn
        from rich.text import Text

        titles = [column.title for column in table.columns]
        drawn = Drawn(*titles, title=table.title or None, title_justify="left", title_style="bold", pad_edge=False)
        drawn.box = box.SIMPLE_HEAD
        for row in table.rows:
            cells = (Text(str(cell), style=STYLES[cell.tone] if isinstance(cell, State) else "") for cell in row)
            drawn.add_row(*cells)
        console.print(drawn)


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
