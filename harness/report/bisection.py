"""What a bisection found, as text."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from harness.report.fields import bounded, line, rows, text, texts
from harness.report.text_table import text_table

_HEADER = ("", "tried", "answer", "")
_MAX_LISTED = 12


def print_bisection(document: dict[str, Any], stream: TextIO | None = None) -> None:
    """A table of the trials, the answer, and as the last line `FOUND: ...` or `RANGE: ...`.

    Args:
        document: what `harness bisect --json` prints.
        stream: where to write instead of stdout.
    """
    shown = bounded(document)
    trials = [
        (str(place), line(row["label"])[:80], row["answer"] + ("" if row["folder"] else " (kept)"), _detail(row))
        for place, row in enumerate(rows(shown["trials"]), start=1)
    ]
    lines = [text_table(trials, _HEADER), ""]
    lines.append(f"reference: {shown['reference']['source']}, {shown['reference']['steps']} steps")
    lines += _of_commits(shown) if shown["kind"] == "commits" else _of_locks(shown)
    if where := shown["first_difference"]:
        lines.append(f"first difference: {_where(where)}")
    lines += [f"note: {note}" for note in texts(shown["notes"])]
    lines += [f"{shown['num_trials']} trainings beside the reference; all is kept in {shown['folder']}", _last(shown)]
    stream = stream or sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write("".join(f"{one.rstrip()}\n" for one in lines).encode(encoding, "backslashreplace").decode(encoding))


def _detail(row: dict[str, Any]) -> str:
    if row["where"]:
        return _where(row["where"])
    return line(row["reason"])[:100] or f"{row['num_steps']} steps equal"


def _where(where: dict[str, Any]) -> str:
    if where["phase"] == "file":
        return f"the file {where['tensor']}"
    at = f"step {where['step']}" if where["phase"] == "step" else f"the {where['phase']} at step {where['step']}"
    micro_batch = f", micro-batch {where['micro_batch']}" if where["micro_batch"] else ""
    tensor = f", tensor {where['tensor']}" if where["tensor"] else ""
    return f"{at}{micro_batch}, stream {where['stream']}{tensor}" + (f" ({where['note']})" if where["note"] else "")


def _of_commits(shown: dict[str, Any]) -> list[str]:
    files = rows(shown["files"])
    found = [
        f"file: {file['path']} " + ("(binary)" if file["added"] is None else f"+{file['added']} -{file['removed']}")
        for file in files[:_MAX_LISTED]
    ]
    if (num := shown["num_files"]) > _MAX_LISTED:
        found.append(f"file: ... and {num - _MAX_LISTED} more")
    if shown["outcome"] == "range":
        found += [f"may be it: {one['commit'][:12]} {one['subject']}" for one in rows(shown["candidates"])]
    return found


def _of_locks(shown: dict[str, Any]) -> list[str]:
    tried = f"{shown['num_changes']} pins differ"
    if num := shown["num_inconsistent"]:
        tried += f"; {num} mixes were not tried, for what their wheels need was not in them"
    if num := shown["num_unresolved"]:
        tried += f"; {num} could not be built or run"
    return [tried]


def _last(shown: dict[str, Any]) -> str:
    is_found = shown["outcome"] == "found"
    if shown["kind"] == "commits":
        first = shown["first_bad"]
        if is_found:
            return f"FOUND: {first['commit'][:12]} {first['subject']}"
        return f"RANGE: one of {len(shown['candidates'])} commits up to {first['commit'][:12]}"
    pins = ", ".join(
        f"{pin['name']} {text(pin['before']) or 'not locked'} -> {text(pin['after']) or 'not locked'}"
        for pin in rows(shown["responsible"])
    )
    return f"{'FOUND' if is_found else 'RANGE'}: {pins}"
