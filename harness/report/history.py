"""The history of an experiment, and what a bisection found, as text."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from harness.report.fields import bounded, duration, line, number, rows, short, text, texts
from harness.report.text_table import text_table

_HEADER = ("", "date (UTC)", "commit", "verdict", "runner", "image", "steps", "last loss", "seconds", "numbers")
_NUMBERS = {True: "same", False: "CHANGED", None: ""}
_MAX_LISTED = 12
_UNEXPLAINED = "!! the numbers changed, and nothing that they are known to depend on did"
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


def print_history(document: dict[str, Any], stream: TextIO | None = None) -> None:
    """A table of the records, and below it what changed between neighbours.

    Args:
        document: what `harness history --json` prints.
        stream: where to write instead of stdout.
    """
    shown = bounded(document, max_rows=1000)
    changes = {change["after"]: change for change in rows(shown["changes"])}
    table = [
        (str(place), *_row(record, changes.get(record["run_id"])))
        for place, record in enumerate(rows(shown["records"]), start=1)
    ]
    lines = [f"{shown['experiment']}: {len(table)} records", ""]
    lines.append(text_table(table, _HEADER))
    places = {record["run_id"]: place for place, record in enumerate(rows(shown["records"]), start=1)}
    for change in rows(shown["changes"]):
        lines += ["", f"{places[change['before']]} -> {places[change['after']]}: {_headline(change)}"]
        lines += [f"  {one}" for one in _details(change)]
    lines += [f"left out: {one['path']}: {one['problem']}" for one in rows(shown["left_out"])]
    _write(lines, stream)


def _row(record: dict[str, Any], change: dict[str, Any] | None) -> tuple[str, ...]:
    marks = [*(["replay"] if record["kind"] == "replay" else []), *([record["scope"]] if record["scope"] else [])]
    verdict = record["verdict"] + (f" ({', '.join(marks)})" if marks else "")
    figures = record["figures"]
    loss = number(figures["last_loss"])
    mark = "" if change is None else _NUMBERS[change["numbers_equal"]] + (" (!)" if change["is_unexplained"] else "")
    return (
        record["date"].replace("T", " ").removesuffix("Z"),
        record["commit"][:12] + ("+" if record["dirty"] else ""),
        verdict,
        record["runner"],
        short(record["image_id"]).removeprefix("sha256:"),
        text(figures["steps"]),
        "" if loss is None else f"{loss:.9g}",
        duration(figures["seconds"]),
        mark,
    )


def _headline(change: dict[str, Any]) -> str:
    if change["is_unexplained"]:
        return _UNEXPLAINED
    causes = ", ".join(_KINDS.get(kind, kind) for kind in texts(change["causes"]))
    what = {True: "the numbers are the same", False: "the numbers changed", None: "no numbers to compare"}
    return f"{what[change['numbers_equal']]}; changed: {causes or 'nothing'}"


def _details(change: dict[str, Any]) -> list[str]:
    found = []
    first = change["first_difference"]
    if first:
        found.append(f"first difference: {first['phase']} {first['step']}, stream {first['stream']}")
    if change["different_outputs"]:
        found.append(f"outputs that differ: {_few(texts(change['different_outputs']))}")
    if change["num_steps"] and not first:
        found.append(f"{change['num_steps']} steps of both ledgers are equal")
    if (num := change["num_commits"]) is None:
        found.append("the repository does not have both commits")
    elif num or change["is_backwards"]:
        back = " (not an ancestor: another branch, or an older commit)" if change["is_backwards"] else ""
        subjects = texts(change["subjects"])
        found.append(f"{num} commit{'' if num == 1 else 's'} in between{back}{': ' if subjects else ''}")
        found += [f"  {subject}" for subject in subjects[:_MAX_LISTED]]
        found += [f"  ... and {num - _MAX_LISTED} more"] if num > _MAX_LISTED else []
    found += _file_lines(change)
    pins = rows(change["pins"])
    found += [f"lock: {_pin(pin)}" for pin in pins[:_MAX_LISTED]]
    found += [f"lock: ... and {len(pins) - _MAX_LISTED} more"] if len(pins) > _MAX_LISTED else []
    if change["image"]:
        found.append(f"image: {' -> '.join(short(one) or 'none' for one in change['image'])}")
    values = rows(change["values"])
    found += [f"{one['path']}: {_value(one['before'])} -> {_value(one['after'])}" for one in values[:_MAX_LISTED]]
    found += [f"... and {len(values) - _MAX_LISTED} more values"] if len(values) > _MAX_LISTED else []
    return found


def _file_lines(change: dict[str, Any]) -> list[str]:
    files = rows(change["files"])
    found = [f"file: {file['path']} {_counts(file)}" for file in files[:_MAX_LISTED]]
    found += [f"file: ... and {len(files) - _MAX_LISTED} more"] if len(files) > _MAX_LISTED else []
    if other := change["num_other_files"]:
        found.append(f"{other} other file{'' if other == 1 else 's'} that it is not known to use")
    return found


def _counts(file: dict[str, Any]) -> str:
    return "(binary)" if file["added"] is None else f"+{file['added']} -{file['removed']}"


def _pin(pin: dict[str, Any]) -> str:
    return f"{pin['name']} {pin['before'] or 'not locked'} -> {pin['after'] or 'not locked'}"


def _value(value: object) -> str:
    return "(none)" if value is None else line(short(value))[:100]


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _write(lines: list[str], stream: TextIO | None) -> None:
    stream = stream or sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    for one in lines:
        stream.write(one.rstrip().encode(encoding, "backslashreplace").decode(encoding) + "\n")
