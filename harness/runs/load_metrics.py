"""Reads what a training wrote beside its declared files: event files, wandb's logs, JSON lines and JSON documents.

Nothing is trusted: no link is followed, only regular files are opened, their number and sizes are bounded, and what is
left out is told.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.errors import EvidenceError
from harness.review.evidence.run_files import Kind, RunFile, RunFiles, parse_document, parse_rows
from harness.review.evidence.tracking_files import TrackedRun, read_tensorboard, read_wandb
from harness.system.files import Files, as_files

MAX_FILES = 200
MAX_BYTES = 256 << 20
MAX_DOCUMENT_BYTES = 4 << 20
MAX_TOTAL_BYTES = 1 << 30
_READERS: dict[Kind, Callable[[bytes, str], TrackedRun]] = {"tensorboard": read_tensorboard, "wandb": read_wandb}


def load_run_files(source: Files | Path, name: str) -> RunFiles:
    """Read the trackers' files, JSON lines and JSON documents below a trajectory's `output/`.

    Args:
        source: the trajectory's folder, or the files of one inside an archive.
        name: of the trajectory, for messages.
    """
    problems: list[str] = []
    folder = as_files(source)
    try:
        paths = [path for path, is_regular in folder.walk("output") if is_regular]
    except EvidenceError as error:
        return RunFiles(problems=(error.problem,))
    wanted = [(path, kind) for path in paths if (kind := kind_of(path)) is not None]
    # Trackers and metrics first: a folder full of JSON documents must not crowd them out.
    wanted.sort(key=lambda pair: (pair[1] == "json", pair[0].count("/"), pair[0]))
    if len(wanted) > MAX_FILES:
        problems.append(f"{name}: of {len(wanted)} files of metrics and settings, {MAX_FILES} were read")
    files: list[RunFile] = []
    total = 0
    for path, kind in wanted[:MAX_FILES]:
        file = _load(folder.below("output"), path, kind, MAX_TOTAL_BYTES - total)
        total += file.size_bytes
        files.append(file)
    return RunFiles(files=tuple(sorted(files, key=lambda file: file.path)), problems=tuple(problems))


def kind_of(path: str) -> Kind | None:
    """How a file of this name is read; None for one that is none of these."""
    name = path.rpartition("/")[2].lower()
    if ".tfevents." in name:
        return "tensorboard"
    if name.endswith(".wandb"):
        return "wandb"
    return "jsonl" if name.endswith(".jsonl") else "json" if name.endswith(".json") else None


def _load(root: Files, path: str, kind: Kind, left: int) -> RunFile:
    shown = path.encode("utf-8", "backslashreplace").decode("utf-8")
    limit = min(MAX_DOCUMENT_BYTES if kind == "json" else MAX_BYTES, left)
    try:
        data = bytes(root.read(path, max_bytes=limit))
    except EvidenceError as error:
        return RunFile(path=shown, kind=kind, size_bytes=0, problem=error.problem)
    size = len(data)
    try:
        if kind == "json":
            return RunFile(path=shown, kind=kind, size_bytes=size, document=parse_document(data, shown))
        if kind == "jsonl":
            return RunFile(path=shown, kind=kind, size_bytes=size, rows=parse_rows(data, shown))
        return RunFile(path=shown, kind=kind, size_bytes=size, tracked=_READERS[kind](data, shown))
    except EvidenceError as error:
        return RunFile(path=shown, kind=kind, size_bytes=size, problem=error.problem)
