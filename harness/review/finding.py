"""What rules say: findings (a rule is broken here) and showings (an item of the checklist is kept, and where)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.documents.verdict import UnreadFile

Severity = Literal["veto", "warning", "note"]
Certainty = Literal["proven", "possible"]
_Training = Literal["T1", "T2", "T3", "T4", "T5", "T6", "T7"]
_Checkpoints = Literal["C1", "C2", "C3", "C4", "C5"]
_Environment = Literal["E1", "E2", "E3", "E4", "E5"]
_Tracking = Literal["K1", "K2", "K3", "K4", "K5"]
_Vetoes = Literal["V1", "V2", "V3", "V4", "V5"]
Item = Literal[_Training, _Checkpoints, _Environment, _Tracking, _Vetoes]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Place:
    """Where: a file below the reviewed folder with `/`, and lines and columns from 1; line 0 is the whole file."""

    path: str
    line: int = 0
    column: int = 1

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A rule is broken.

    Attributes:
        rule: its id, `REP101`.
        certainty: only what is `proven` may veto; `possible` reads *could not tell*.
        place: None for what stands in no file (a measurement).
        message: what is wrong here, in one sentence that names the thing; the rule says why and how to fix it.
        fix: what to write here, where it is more precise than the rule's own.
        allowed: the reason that a person gave on the line, or "" (`# harness: allow REP101 <reason>`).
    """

    rule: str
    certainty: Certainty
    place: Place | None
    message: str
    fix: str = ""
    allowed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Showing:
    """An item is kept, or does not apply, and this is what shows it.

    Attributes:
        item: of the checklist.
        state: what it shows; `unknown` says that this was looked at and cannot be decided, and why.
        text: the measurement or the place in words, one line.
        place: where in the code, or None for a measurement.
        is_measured: evidence of a run, which outweighs what was read in the code.
    """

    item: Item
    state: Literal["holds", "does not apply", "unknown"]
    text: str
    place: Place | None = None
    is_measured: bool = False


Said = Finding | Showing


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticReview:
    """What was read in the code and its surroundings; `num_files` counts unreadable files too."""

    findings: tuple[Finding, ...] = ()
    showings: tuple[Showing, ...] = ()
    unread: tuple[UnreadFile, ...] = ()
    num_files: int = 0


def finding(rule: str, place: Place | None, message: str, *, proven: bool = True, fix: str = "") -> Finding:
    """A finding that is proven, or only possible."""
    return Finding(rule=rule, certainty="proven" if proven else "possible", place=place, message=message, fix=fix)


def holds(item: Item, text: str, place: Place | None = None) -> Showing:
    """Code that keeps an item."""
    return Showing(item=item, state="holds", text=text, place=place)


def measured(item: Item, text: str, state: Literal["holds", "does not apply"] = "holds") -> Showing:
    """A measurement that shows an item, or that it does not apply."""
    return Showing(item=item, state=state, text=text, is_measured=True)


def undecided(item: Item, text: str) -> Showing:
    """Measured, and it cannot be decided; why."""
    return Showing(item=item, state="unknown", text=text, is_measured=True)
