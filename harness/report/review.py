"""The review for people: the checklist by groups, the findings with place, reason, fix and source, what was not read.

It is given as the JSON value that verdict.json and `harness review --format json` have; nothing in it is trusted.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from harness.report.fields import bounded, integer, line, rows, size, table, texts
from harness.report.text_table import can_draw, text_table

if TYPE_CHECKING:
    from rich.console import Console

STATES = ("vetoed", "could not tell", "warning", "holds", "does not apply")
TONES = {"holds": "good", "vetoed": "bad", "warning": "unsure", "does not apply": "none", "could not tell": "unsure"}
SIGNS = {"holds": "✅", "vetoed": "⛔", "warning": "⚠️", "does not apply": "➖", "could not tell": "❓"}
_COLOURS = {"holds": "green", "vetoed": "red", "warning": "yellow", "could not tell": "yellow"}
_MAX_ROWS = 500
_MAX_CHARS = 600
_MAX_SHOWN = 160
_WIDTH = 76
_PHASES = ("forward", "backward", "optimizer")


def review_rows(review: object) -> list[dict[str, Any]]:
    """The checklist's items: id, group, title, state, tone, sign, shown (texts with their places), measured."""
    found = []
    for row in rows(table(review).get("checklist")):
        state = line(row.get("state"))
        state = state if state in STATES else "could not tell"
        shown = [_shown(one) for one in rows(row.get("shown"))]
        found.append(
            {
                "id": line(row.get("id")) or "?",
                "group": line(row.get("group")) or "Other",
                "title": line(row.get("title")),
                "state": state,
                "tone": TONES[state],
                "sign": SIGNS[state],
                "shown": [text for text in shown if text],
            }
        )
    return found


def review_groups(review: object) -> list[tuple[str, list[dict[str, Any]]]]:
    """The items by group, in the order of the checklist."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in review_rows(review):
        groups.setdefault(row["group"], []).append(row)
    return list(groups.items())


def finding_rows(review: object, key: str = "findings") -> list[dict[str, Any]]:
    """The findings, or with `allowed` those that a person allowed: vetoes first, then by place."""
    found = []
    for row in rows(table(review).get(key)):
        number = integer(row.get("line"))
        path = _path(row)
        found.append(
            {
                "rule": line(row.get("rule")) or "?",
                "name": line(row.get("name")),
                "title": line(row.get("title")),
                "severity": line(row.get("severity")),
                "certainty": line(row.get("certainty")),
                "items": ", ".join(texts(row.get("items"))),
                "path": path,
                "line": number or 0,
                "column": integer(row.get("column")) or 1,
                "place": f"{line(path)}:{number}" if path and number else line(path) or "measured",
                "message": line(row.get("message")),
                "why": line(row.get("why")),
                "fix": line(row.get("fix")),
                "source": line(row.get("source")),
                "thread": line(row.get("thread")),
                "allowed": line(row.get("allowed")),
                "tone": _tone(row),
            }
        )
    order = {"bad": 0, "unsure": 1, "none": 2}
    return sorted(found, key=lambda one: (order[one["tone"]], one["path"], one["line"], one["rule"]))


def review_sentence(review: object) -> str:
    """`warning: 2, holds: 17`: how many items are in each state, the worst first; empty without a checklist."""
    counts = Counter(row["state"] for row in review_rows(review))
    return ", ".join(f"{state}: {counts[state]}" for state in STATES if counts[state])


def vram_rows(review: object) -> list[tuple[str, ...]]:
    """What a probe measured: a row for each variant, with the peak reserved of each phase."""
    measured = table(table(review).get("measured"))
    found = []
    for row in rows(measured.get("variants")):
        phases = [size(table(row, "phases", phase).get("peak_reserved_bytes")) for phase in _PHASES]
        how = "estimate" if row.get("is_estimate") is True else "measured"
        peaks = (size(row.get("peak_allocated_bytes")), size(row.get("peak_reserved_bytes")))
        found.append((line(row.get("name")) or "?", *phases, *peaks, _share(measured, row), how))
    return found


def vram_sentence(review: object) -> str:
    """Where a probe measured, and how."""
    measured = table(table(review).get("measured"))
    if not measured:
        return ""
    device = line(measured.get("gpu")) or line(measured.get("device")) or "?"
    in_force = ", ".join(texts(measured.get("in_force"))) or "none"
    budget = size(measured.get("budget_bytes"))
    return f"on {device}, {line(measured.get('method'))}; budget {budget}; mitigations in force: {in_force}"


def unread_rows(review: object) -> list[tuple[str, str]]:
    """What could not be reviewed, and why; a path is as it is, lines and all."""
    return [(_path(row) or "?", line(row.get("reason"))) for row in rows(table(review).get("unread"))]


def print_review(review: dict[str, Any], name: str, *, stream: TextIO | None = None) -> None:
    """The whole review on stdout; the last line is `REVIEW: VETOED` or `REVIEW: no veto`."""
    stream = stream or sys.stdout
    shown = bounded(review if isinstance(review, dict) else {}, max_rows=_MAX_ROWS, max_chars=_MAX_CHARS)
    if can_draw(stream):
        from rich.console import Console

        _print_rich(Console(file=stream, highlight=False, markup=False, emoji=False), shown)
    else:
        _print_plain(stream, shown)
    number = integer(table(review).get("num_files"))
    files = f"{number} files; " if number is not None else ""
    _write(stream, f"\n{name}: {files}{review_sentence(shown)}")
    vetoes = texts(shown.get("vetoes"))
    _write(stream, f"REVIEW: {'VETOED' if vetoes else 'no veto'}")
    stream.flush()


def _print_plain(stream: TextIO, review: dict[str, Any]) -> None:
    for group, items in review_groups(review):
        _write(stream, f"\n{_heading(group)}")
        cells = [(row["id"], row["title"], row["state"], _first(row)) for row in items]
        _write(stream, text_table(cells, ("", "item", "state", "shown by"), (None, 40, None, _WIDTH)))
    if memory := vram_rows(review):
        _write(stream, f"\nVRAM {vram_sentence(review)}")
        _write(stream, text_table(memory, VRAM_HEADER))
    for title, found in _finding_lists(review):
        _write(stream, f"\n{title}")
        for one in found:
            for label, value in _finding_lines(one):
                _write(stream, f"  {label:<8}{value}" if label else value)
    if unread := unread_rows(review):
        _write(stream, "\nNot read")
        for path, reason in unread:
            _write(stream, f"  {line(path)}: {reason}")


def _print_rich(console: Console, review: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    def grid(title: str, header: tuple[str, ...], cells: Sequence[tuple[str, ...]]) -> None:
        style: dict[str, Any] = {"title_justify": "left", "title_style": "bold", "pad_edge": False}
        shown = Table(*header, title=title, box=box.SIMPLE_HEAD, **style)
        for row in cells:
            shown.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
        console.print(shown)

    for group, items in review_groups(review):
        cells = [(row["id"], row["title"], row["state"], _first(row)) for row in items]
        grid(_heading(group), ("", "item", "state", "shown by"), cells)
    if memory := vram_rows(review):
        grid(f"VRAM {vram_sentence(review)}", VRAM_HEADER, memory)
    for title, found in _finding_lists(review):
        console.print(Text(f"\n{title}", style="bold"))
        for one in found:
            style = {"bad": "red", "unsure": "yellow"}.get(one["tone"], "")
            for label, value in _finding_lines(one):
                text = Text(f"  {label:<8}{value}") if label else Text(value, style=style)
                console.print(text, soft_wrap=True)
    for path, reason in unread_rows(review):
        console.print(Text(f"not read  {line(path)}: {reason}", style="bright_black"), soft_wrap=True)


VRAM_HEADER = ("variant", *_PHASES, "peak allocated", "peak reserved", "of budget", "how")


def _finding_lists(review: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    lists = [("Findings", finding_rows(review)), ("Allowed", finding_rows(review, "allowed"))]
    return [(title, found) for title, found in lists if found]


def _finding_lines(one: dict[str, Any]) -> list[tuple[str, str]]:
    head = f"{one['place']}: {one['rule']} {one['severity']} ({one['certainty']}; {one['items']}): {one['message']}"
    pairs = [("allowed", one["allowed"]), ("why", one["why"]), ("fix", one["fix"]), ("source", one["source"])]
    return [("", head), *((label, value) for label, value in pairs if value)]


def _heading(group: str) -> str:
    return "Vetoes (one holds where nothing of the kind was found)" if group == "Vetoes" else group


def _first(row: dict[str, Any]) -> str:
    shown = row["shown"]
    text = shown[0] if shown else ""
    text = text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 4]} ..."
    return f"{text} (and {len(shown) - 1} more)" if len(shown) > 1 else text


def _shown(row: dict[str, Any]) -> str:
    path, number = line(row.get("path")), integer(row.get("line"))
    where = f" ({path}:{number})" if path and number else f" ({path})" if path else ""
    return f"{line(row.get('text'))}{where}".strip()


def _path(row: dict[str, Any]) -> str:
    path = row.get("path")
    return path if isinstance(path, str) else ""


def _tone(row: dict[str, Any]) -> str:
    if row.get("allowed") or row.get("severity") == "note":
        return "none"
    return "bad" if row.get("severity") == "veto" and row.get("certainty") == "proven" else "unsure"


def _share(measured: dict[str, Any], row: dict[str, Any]) -> str:
    budget, peak = integer(measured.get("budget_bytes")), integer(row.get("peak_reserved_bytes"))
    return f"{peak / budget:.0%}" if budget and peak is not None else ""


def _write(stream: TextIO, shown: str) -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(shown.encode(encoding, "backslashreplace").decode(encoding) + "\n")
