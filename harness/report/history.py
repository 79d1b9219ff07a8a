"""The history of an experiment, and what a bisection found, as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TextIO

from harness.documents.bisection import CommitBisection, LockBisection, Trial
from harness.documents.history import Change, FileChange, History, PastRun, PinChange
from harness.report.printer import Printer
from harness.report.tables import Cell, Kind, State, table
from harness.report.text import count, duration, few, line, safe, short

_MAX_ROWS = 1000
_MAX_LISTED = 12
_KINDS = {
    "code": "code of the experiment",
    "lock": "pinned packages",
    "image": "the image",
    "experiment": "the experiment's declaration",
    "prepared inputs": "prepared inputs",
    "environment": "the environment",
    "recorder": "the recorder",
    "runner": "the runner",
    "uncommitted changes": "uncommitted changes",
    "other files": "files that the experiment is not known to use",
}


def print_history(history: History, stream: TextIO | None = None) -> None:
    """A table of the records, and below it what changed between neighbours."""
    printer = Printer(stream)
    shown = safe(history, max_rows=_MAX_ROWS)
    changes = {change.after: change for change in shown.changes}
    rows = [_row(place, one, changes.get(one.run_id)) for place, one in enumerate(shown.records, start=1)]
    columns: dict[str, Kind] = {"": "key", "Date (UTC)": "text", "Commit": "code", "Verdict": "text", "Runner": "text"}
    columns |= {"Image": "code", "Steps": "amount", "Last loss": "amount", "Time": "amount", "Numbers": "text"}
    printer.line(f"{shown.experiment}: {count(len(history.records), 'record')}")
    printer.table(table("", columns, rows, of=history.records))
    places = {record.run_id: place for place, record in enumerate(shown.records, start=1)}
    for change in shown.changes:
        printer.line(f"\n{places.get(change.before, '?')} -> {places.get(change.after, '?')}: {_headline(change)}")
        for detail in _details(change):
            printer.line(f"  {detail}")
    for one in shown.left_out:
        printer.line(f"left out: {line(one.path)}: {line(one.problem)}")


def _row(place: int, record: PastRun, change: Change | None) -> tuple[Cell, ...]:
    marks = [mark for mark in ("replay" if record.kind == "replay" else "", record.scope) if mark]
    figures = record.figures
    numbers = State("", "none")
    if change is not None and change.numbers_equal is not None:
        mark = " (!)" if change.is_unexplained else ""
        numbers = State("same", "good") if change.numbers_equal else State(f"CHANGED{mark}", "bad")
    return (
        str(place),
        record.date.replace("T", " ").removesuffix("Z"),
        record.commit[:12] + ("+" if record.dirty else ""),
        line(record.verdict) + (f" ({', '.join(marks)})" if marks else ""),
        line(record.runner),
        short(record.image_id).removeprefix("sha256:"),
        "" if figures.steps is None else str(figures.steps),
        "" if figures.last_loss is None else f"{figures.last_loss:.9g}",
        duration(figures.seconds),
        numbers,
    )


def _headline(change: Change) -> str:
    if change.is_unexplained:
        return "!! the numbers changed, and nothing that they are known to depend on did"
    causes = ", ".join(_KINDS.get(kind, kind) for kind in change.causes)
    what = {True: "the numbers are the same", False: "the numbers changed", None: "no numbers to compare"}
    return f"{what[change.numbers_equal]}; changed: {causes or 'nothing'}"


def _details(change: Change) -> Iterator[str]:
    first = change.first_difference
    if first:
        yield f"first difference: {first.phase} {first.step}, stream {first.stream}"
    if change.different_outputs:
        yield f"outputs that differ: {few(change.different_outputs, 3)}"
    if change.num_steps and not first:
        yield f"{change.num_steps} steps of both ledgers are equal"
    if change.num_commits is None:
        yield "the repository does not have both commits"
    elif change.num_commits or change.is_backwards:
        back = " (not an ancestor: another branch, or an older commit)" if change.is_backwards else ""
        yield f"{count(change.num_commits, 'commit')} in between{back}{': ' if change.subjects else ''}"
        yield from _first([f"  {line(subject)}" for subject in change.subjects], change.num_commits, "  ...")
    yield from _first([f"file: {_file(one)}" for one in change.files], len(change.files), "file:")
    if change.num_other_files:
        yield f"{count(change.num_other_files, 'other file')} that it is not known to use"
    pins = change.pins or ()
    yield from _first([f"lock: {_pin(one)}" for one in pins], len(pins), "lock:")
    if change.image:
        yield f"image: {' -> '.join(short(one) or 'none' for one in change.image)}"
    values = [f"{line(one.path)}: {_value(one.before)} -> {_value(one.after)}" for one in change.values]
    yield from _first(values, len(values), "...")


def _first(shown: Sequence[str], num: int, label: str) -> list[str]:
    """The first of many lines, and how many more there are."""
    more = num - _MAX_LISTED
    return [*shown[:_MAX_LISTED], *([f"{label} and {more} more"] if more > 0 else [])]


def _file(one: FileChange) -> str:
    return f"{line(one.path)} " + ("(binary)" if one.added is None else f"+{one.added} -{one.removed}")


def _pin(one: PinChange) -> str:
    return f"{line(one.name)} {one.before or 'not locked'} -> {one.after or 'not locked'}"


def _value(value: str | None) -> str:
    return "(none)" if value is None else line(short(value))[:100]


def print_bisection(found: CommitBisection | LockBisection, stream: TextIO | None = None) -> None:
    """A table of the trials, the answer, and as the last line `FOUND: ...` or `RANGE: ...`."""
    printer = Printer(stream)
    shown = safe(found)
    rows = [
        (str(place), line(one.label)[:80], one.answer + ("" if one.folder else " (kept)"), _trial(one))
        for place, one in enumerate(shown.trials, start=1)
    ]
    columns: dict[str, Kind] = {"": "key", "Tried": "text", "Answer": "text", "Where": "text"}
    printer.table(table("", columns, rows, of=found.trials))
    printer.line(f"\nreference: {line(shown.reference.source)}, {shown.reference.steps} steps")
    for text in _of_commits(shown) if isinstance(shown, CommitBisection) else [_of_locks(shown)]:
        printer.line(text)
    if shown.first_difference:
        printer.line(f"first difference: {line(str(shown.first_difference))}")
    for note in shown.notes:
        printer.line(f"note: {line(note)}")
    printer.line(f"{shown.num_trials} trainings beside the reference; all is kept in {line(shown.folder)}")
    printer.line(_answer(shown))


def _trial(one: Trial) -> str:
    return line(str(one.where)) if one.where else line(one.reason)[:100] or f"{one.num_steps} steps equal"


def _of_commits(shown: CommitBisection) -> list[str]:
    found = _first([f"file: {_file(one)}" for one in shown.files], shown.num_files, "file: ...")
    if shown.outcome == "range":
        found += [f"may be it: {one.commit[:12]} {line(one.subject)}" for one in shown.candidates]
    return found


def _of_locks(shown: LockBisection) -> str:
    tried = f"{shown.num_changes} pins differ"
    if shown.num_inconsistent:
        tried += f"; {shown.num_inconsistent} mixes were not tried: they lack what their wheels need"
    if shown.num_unresolved:
        tried += f"; {shown.num_unresolved} could not be built or run"
    return tried


def _answer(shown: CommitBisection | LockBisection) -> str:
    word = "FOUND" if shown.outcome == "found" else "RANGE"
    if isinstance(shown, LockBisection):
        return f"{word}: {', '.join(map(_pin, shown.responsible))}"
    first = shown.first_bad
    if shown.outcome == "found":
        return f"FOUND: {first.commit[:12]} {line(first.subject)}"
    return f"RANGE: one of {len(shown.candidates)} commits up to {first.commit[:12]}"
