"""What commands found, on the console: a build, a comparison, a verification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from harness.images.image import BuildResult, FileDifference
from harness.judge.elementwise import FileDiff
from harness.report.printer import Printer
from harness.report.tables import Kind, Table, table
from harness.report.text import few, line, safe
from harness.runs.compare_paths import FolderDiff
from harness.verify.verification import Verification

_MAX_ROWS = 60
_COMPARE = "Compare that key id with the one its owner publishes; `harness key trust FILE --name NAME` remembers it."


def print_build(result: BuildResult, *, is_check: bool, stream: TextIO | None = None) -> None:
    """Print an image's tag, id and size, how long it took, and what two builds agreed on."""
    printer = Printer(stream)
    stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.seconds)
    printer.line(f"{result.tag} {result.image_id} {result.size_bytes / 1e6:,.0f} MB")
    printer.line(f"unchanged, already built ({stages})" if result.was_cached else stages)
    record = result.rebuild if is_check else None
    if record is None:
        return
    for image_id, seconds, engine in zip(record.image_ids, record.seconds, record.engines, strict=True):
        printer.line(f"built from nothing: {image_id} in {seconds:.0f} s by {engine}")
    groups: dict[str, list[FileDifference]] = {}
    for difference in record.differences:
        groups.setdefault(_group_of(difference.path), []).append(difference)
    for group, found in sorted(groups.items(), key=lambda row: (row[0] != "", row[0])):
        shown = found[:1] if group else found
        for one in shown:
            printer.line(f"  differs: {one.path}: {one.how}")
        if more := len(found) - len(shown):
            printer.line(f"           and {more:,} more: {group}")


def _group_of(path: str) -> str:
    """What a file is one of many of; "" for one that is told by itself."""
    if path.endswith(".pyc"):
        return "bytecode that Python compiled (.pyc)"
    return "metadata of packages (.dist-info)" if ".dist-info/" in path else ""


def print_difference(found: FileDiff | FolderDiff, stream: TextIO | None = None) -> None:
    """What differs, how much was compared, and as the last line `EQUAL` or `DIFFERENT`."""
    printer = Printer(stream)
    shown = safe(found, max_rows=_MAX_ROWS)
    if isinstance(shown, FileDiff):
        printer.table(_tensors(shown))
        printer.line(_amount_of(shown))
    else:
        printer.table(_streams(shown))
        printer.line(f"{shown.num_steps:,} steps compared")
        for problem in shown.problems:
            printer.line(f"problem: {line(problem)}")
    printer.line("EQUAL" if found.is_equal else "DIFFERENT")


def _amount_of(shown: FileDiff) -> str:
    """How much was compared; of files that are no checkpoints, that they are none and what was compared instead."""
    if shown.num_tensors:
        return f"{shown.num_equal:,} of {shown.num_tensors:,} tensors are equal, bit for bit"
    what = "byte for byte" if "bytes" in shown.formats or "gzip" in shown.formats else "value by value"
    return f"neither file holds tensors: no checkpoints, compared {what} ({' and '.join(sorted(set(shown.formats)))})"


def _tensors(shown: FileDiff) -> Table:
    rows: list[tuple[str, ...]] = [
        (
            one.name,
            one.kind,
            f"{one.num_different:,} of {one.num_elements:,}" if one.kind == "differs" else "",
            "" if one.max_ulp is None else f"{one.max_ulp:,}",
            "" if one.first_index is None else str(list(one.first_index)),
            one.left,
            one.right,
        )
        for one in shown.tensors
    ]
    rows += [(one.path, "value", "", "", "", one.left, one.right) for one in shown.values]
    columns: dict[str, Kind] = {"Tensor": "key", "How": "text", "Elements that differ": "amount"}
    columns |= {"Largest ULP": "amount", "First index": "code", "Left": "long", "Right": "long"}
    return table("", columns, _on_one_line(rows))


def _streams(shown: FolderDiff) -> Table:
    rows = [
        (str(d.run), d.stream, f"{d.phase} {d.step}", d.tensor or "", d.left[:24], d.right[:24])
        for d in shown.differences
    ]
    rows += [("", "file", file.path, few(file.different, 2), "", "") for file in shown.files if file.equal is False]
    columns: dict[str, Kind] = {"Run": "key", "Stream": "text", "First differs at": "text", "Tensor": "code"}
    return table("", columns | {"Left": "code", "Right": "code"}, _on_one_line(rows))


def _on_one_line(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [tuple(map(line, row)) for row in rows]


def print_verification(found: Verification, stream: TextIO | None = None) -> None:
    """What was recomputed, what was not, who signed, and the word as the last line, or why it is refused."""
    printer = Printer(stream)
    shown = safe(found, max_rows=_MAX_ROWS)
    rows = [(line(one.name), line(one.text), line(one.amount)) for one in shown.checks]
    printer.table(table("", {"Recomputed": "key", "Result": "text", "Amount": "text"}, rows))
    if shown.word == "TAMPERED":
        printer.line(line(shown.problem))
        if shown.remedy:
            printer.line(f"  remedy: {line(shown.remedy)}")
        printer.line("\nTAMPERED")
        return
    printer.line("\nnot checked:")
    for entry in shown.not_checked:
        printer.line(f"  - {line(entry)}")
    if shown.signer is not None and shown.signer.name is None:
        printer.line(f"\n{_COMPARE}")
    printer.line(f"\n{line(shown.summary)}")
    if shown.unmet:
        printer.line(f"REFUSED: {line(shown.unmet)}")
