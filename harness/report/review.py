"""The review for people: the checklist by groups, the findings with reason, fix and source, what was not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

from pydantic import JsonValue

from harness.documents.verdict import ChecklistItem, ItemState, Review, ReviewFinding, Shown
from harness.report.printer import STYLES, Printer
from harness.report.tables import Kind, State, Table, Tone, table
from harness.report.text import clean, count, leaf, line, safe, size

STATES: tuple[ItemState, ...] = ("vetoed", "could not tell", "warning", "holds", "does not apply")
TONES: Mapping[ItemState, Tone] = {
    "holds": "good",
    "vetoed": "bad",
    "warning": "unsure",
    "does not apply": "none",
    "could not tell": "unsure",
}
_MAX_ROWS = 500
_MAX_CHARS = 600
_PHASES = ("forward", "backward", "optimizer")
_ITEM: Mapping[str, Kind] = {"": "key", "Item": "text", "State": "text", "Shown by": "long"}


@dataclass(frozen=True, slots=True)
class FindingView:
    """A finding, where it is in words, and how bad it is."""

    finding: ReviewFinding
    place: str
    tone: Tone

    @property
    def items(self) -> str:
        """The items of the checklist that it speaks about."""
        return ", ".join(self.finding.items)

    @property
    def headline(self) -> str:
        """Place, rule, severity and message on one line."""
        one = self.finding
        kind = f"{one.certainty}; {self.items}" if self.items else one.certainty
        return f"{self.place}: {one.rule} {one.severity or 'off'} ({kind}): {line(one.message)}"

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """What else there is to say, as label and text."""
        one = self.finding
        facts = (("allowed", one.allowed), ("why", one.why), ("fix", one.fix), ("source", one.source))
        return tuple((label, line(text)) for label, text in facts if text)


class ReviewView:
    """A review in the words of a report; `review` is safe to show already."""

    def __init__(self, review: Review) -> None:
        self.review = review
        self.findings = _ordered(review.findings)
        self.allowed = _ordered(review.allowed)

    @property
    def sentence(self) -> str:
        """`warning: 2, holds: 17`: how many items are in each state, the worst first."""
        counts = Counter(item.state for item in self.review.checklist)
        return ", ".join(f"{state}: {counts[state]}" for state in STATES if counts[state])

    @property
    def is_settled(self) -> bool:
        """Whether every item holds or does not apply."""
        return not self.open_items.rows

    def groups(self, *, is_brief: bool = False) -> tuple[Table, ...]:
        """The items by group, in the order of the checklist; a brief one names only the first that shows a state."""
        groups: dict[str, list[ChecklistItem]] = {}
        for item in self.review.checklist:
            groups.setdefault(item.group, []).append(item)
        return tuple(
            table(group, _ITEM, (_item(one, is_brief=is_brief) for one in items)) for group, items in groups.items()
        )

    @property
    def open_items(self) -> Table:
        """The items that neither hold nor do not apply."""
        found = [item for item in self.review.checklist if item.state not in ("holds", "does not apply")]
        return table("Review", _ITEM, (_item(one, is_brief=True) for one in found))

    @property
    def unread(self) -> tuple[tuple[str, str], ...]:
        """What could not be reviewed, and why; a path is as it is, lines and all."""
        return tuple((one.path, line(one.reason)) for one in self.review.unread)

    @property
    def memory(self) -> Table:
        """What a probe measured: a row a variant, with the peak of each phase."""
        measured = self.review.measured or {}
        variants = measured.get("variants")
        rows = [_variant(one, measured) for one in (variants if isinstance(variants, list) else ())]
        columns: dict[str, Kind] = {"Variant": "key"}
        columns |= dict.fromkeys((*map(str.capitalize, _PHASES), "Allocated", "Reserved", "Of budget"), "amount")
        return table(f"GPU memory {_measured_where(measured)}", columns | {"How": "short"}, rows)


def print_review(review: Review, name: str, *, stream: TextIO | None = None) -> None:
    """The whole review on stdout; the last line is `REVIEW: VETOED` or `REVIEW: no veto`."""
    printer = Printer(stream)
    view = ReviewView(safe(review, max_rows=_MAX_ROWS, max_chars=_MAX_CHARS))
    for group in view.groups(is_brief=True):
        printer.table(group)
    printer.table(view.memory)
    for title, found in (("Findings", view.findings), ("Allowed", view.allowed)):
        if found:
            printer.line(f"\n{title}")
        for one in found:
            printer.line(one.headline, STYLES[one.tone] if one.tone != "none" else "")
            printer.pairs((f"  {label}", text) for label, text in one.facts)
    if view.unread:
        printer.line("\nNot read")
        printer.pairs((f"  {line(path)}", reason) for path, reason in view.unread)
    printer.line(f"\n{clean(name)}: {count(review.num_files, 'file')}; {view.sentence}")
    printer.line(f"REVIEW: {'VETOED' if review.vetoes else 'no veto'}")


def _ordered(findings: tuple[ReviewFinding, ...]) -> tuple[FindingView, ...]:
    """Proven vetoes first, then by place."""
    order: dict[Tone, int] = {"bad": 0, "unsure": 1, "none": 2, "good": 3}
    found = [FindingView(one, _place(one.path, one.line) or "measured", _tone(one)) for one in findings]
    return tuple(
        sorted(
            found,
            key=lambda one: (order[one.tone], one.finding.path or "", one.finding.line or 0, one.finding.rule),
        )
    )


def _tone(finding: ReviewFinding) -> Tone:
    if finding.allowed or finding.severity == "note":
        return "none"
    return "bad" if (finding.severity, finding.certainty) == ("veto", "proven") else "unsure"


def _place(path: str | None, number: int | None) -> str:
    return f"{line(path)}{f':{number}' if number else ''}" if path else ""


def _item(item: ChecklistItem, *, is_brief: bool) -> tuple[str, str, State, str]:
    shown = line(item.reason) if is_brief and item.shown else "; ".join(map(_shown, item.shown))
    return item.id, item.title, State(item.state, TONES[item.state]), shown


def _shown(one: Shown) -> str:
    where = _place(one.path, one.line)
    return f"{line(one.text)}{f' ({where})' if where else ''}"


def _measured_where(measured: Mapping[str, JsonValue]) -> str:
    device = leaf(measured.get("gpu")) or leaf(measured.get("device"))
    in_force = leaf(measured.get("in_force")) or "none"
    method, budget = leaf(measured.get("method")), size(_number(measured.get("budget_bytes")))
    return f"on {device}, {method}; budget {budget}; mitigations in force: {in_force}"


def _variant(variant: JsonValue, measured: Mapping[str, JsonValue]) -> tuple[str, ...]:
    given = _table(variant)
    phases = [_table(_table(given.get("phases")).get(phase)) for phase in _PHASES]
    peak, budget = _number(given.get("peak_reserved_bytes")), _number(measured.get("budget_bytes"))
    return (
        leaf(given.get("name")),
        *(size(_number(phase.get("peak_reserved_bytes"))) for phase in phases),
        size(_number(given.get("peak_allocated_bytes"))),
        size(peak),
        f"{peak / budget:.0%}" if budget and peak is not None else "",
        "estimate" if given.get("is_estimate") is True else "measured",
    )


def _table(value: JsonValue) -> dict[str, JsonValue]:
    return value if isinstance(value, dict) else {}


def _number(value: JsonValue) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
