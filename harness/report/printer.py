"""The printer: tables and labelled lines on the console. On a terminal rich draws them, elsewhere they are plain."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from harness.report.tables import State, Table, Tone
from harness.report.text import line
from harness.report.text_table import can_draw, text_table

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
