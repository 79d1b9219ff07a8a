"""Tables of a report: every presenter draws the same ones, each in its own way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.report.text import line

Tone = Literal["good", "bad", "unsure", "none"]
Kind = Literal["key", "text", "long", "short", "number", "amount", "code"]


@dataclass(frozen=True, slots=True)
class State:
    """A word, and whether it is good news."""

    words: str
    tone: Tone

    def __str__(self) -> str:
        return self.words


Cell = str | State
Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A column's title, and what is in it.

    `key` names the row, `long` may be broken anywhere, `short` and `number` need little room, `amount` is a number
    that is compared with those above it, `code` is set in typewriter face.
    """

    title: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of plain texts; `left_out` is how many more there are."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    left_out: int = 0

    @property
    def filled(self) -> Table:
        """The table without the columns that are empty in every row."""
        kept = [place for place in range(len(self.columns)) if any(str(row[place]) for row in self.rows)]
        columns = tuple(self.columns[place] for place in kept)
        return replace(self, columns=columns, rows=tuple(tuple(row[place] for place in kept) for row in self.rows))


def table(
    title: str, columns: Mapping[str, Kind], rows: Iterable[Sequence[Cell]], *, of: Sequence[object] = ()
) -> Table:
    """A table of some rows; `of` is everything that they were taken from."""
    cells = tuple(tuple(row) for row in rows)
    return Table(title, tuple(Column(*one) for one in columns.items()), cells, max(len(of) - len(cells), 0))


def named(facts: Iterable[tuple[str, str]]) -> Facts:
    """The facts that say something."""
    return tuple((label, line(value)) for label, value in facts if line(value))


def listed(shown: Sequence[str], full: Sequence[str]) -> tuple[str, ...]:
    """The texts that are shown, and how many more there are."""
    more = len(full) - len(shown)
    return (*shown, f"{more:,} more are in verdict.json") if more > 0 else tuple(shown)
