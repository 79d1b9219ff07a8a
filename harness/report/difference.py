"""What `harness diff` found, as text."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from harness.report.fields import bounded
from harness.report.text_table import text_table

_FILE_HEADER = ("tensor", "", "elements that differ", "largest ULP", "first index", "left", "right")
_RUN_HEADER = ("run", "stream", "first differs at", "tensor", "left", "right")
_MAX_ROWS = 40


def print_difference(document: dict[str, Any], stream: TextIO | None = None) -> None:
    """One table, a line in words, and as the last line `EQUAL` or `DIFFERENT`.

    Args:
        document: what `harness diff --json` prints.
        stream: where to write instead of stdout.
    """
    shown = bounded(document, max_rows=_MAX_ROWS)
    is_files = document["kind"] == "files"
    rows = _file_rows(shown) if is_files else _run_rows(shown)
    lines = [text_table(rows, _FILE_HEADER if is_files else _RUN_HEADER)] if rows else []
    if is_files:
        lines.append(f"{document['num_equal']:,} of {document['num_tensors']:,} tensors are equal, bit for bit")
    else:
        lines.append(f"{document['num_steps']:,} steps compared")
        lines += [f"problem: {problem}" for problem in shown["problems"]]
    lines.append("EQUAL" if document["equal"] else "DIFFERENT")
    (stream or sys.stdout).write("\n".join(lines) + "\n")


def _file_rows(shown: dict[str, Any]) -> list[tuple[str, ...]]:
    tensors = [
        (
            t["name"],
            t["kind"],
            f"{t['num_different']:,} of {t['num_elements']:,}" if t["kind"] == "differs" else "",
            "" if t["max_ulp"] is None else f"{t['max_ulp']:,}",
            "" if t["first_index"] is None else str(t["first_index"]),
            t["left"],
            t["right"],
        )
        for t in shown["tensors"]
    ]
    return tensors + [(v["path"], "value", "", "", "", v["left"], v["right"]) for v in shown["values"]]


def _run_rows(shown: dict[str, Any]) -> list[tuple[str, ...]]:
    streams = [
        (str(d["run"]), d["stream"], f"{d['phase']} {d['step']}", d["tensor"] or "", d["left"][:24], d["right"][:24])
        for d in shown["differences"]
    ]
    files = [file for file in shown["files"] if file["equal"] is False]
    return streams + [("", "file", file["path"], _few(file["different"]), "", "") for file in files]


def _few(names: list[str]) -> str:
    """The first two of many."""
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(names[:2]) + more
