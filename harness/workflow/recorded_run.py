"""Reads what a run's documents are rendered from: verdict, manifest, and what each run reported at each step.

The run lies in a folder of `runs/`, in a published one of `manifests/`, or inside an archive. None of it is trusted:
names are confined, sizes bounded, and a run whose ledger cannot be read has no curve.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.documents.digest import sha256
from harness.documents.names import NAME
from harness.documents.verdict import upgraded
from harness.errors import EvidenceError, UsageError
from harness.evidence.ledger import MAX_FILE_BYTES, Ledger, Progress, parse_ledger, parse_progress
from harness.system import store
from harness.system.files import Files, FolderFiles

MAX_DOCUMENT_BYTES = 64 << 20
MAX_RUNS = 10_000
_REMEDY = "give a run's folder or id, an experiment's name for its latest run, a folder of manifests/, or an archive"
_TRAJECTORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """What one process reported; None and nothing where it left nothing that can be read."""

    trajectory: str
    number: int
    ledger: Ledger | None
    progress: tuple[Progress, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Everything that documents are rendered from.

    Attributes:
        verdict: `verdict.json`.
        manifest: `manifest.json`; empty for a run that never wrote one.
        runs: those that the manifest names, in its order.
        digests: sha256 of the documents that lie beside them already, by name.
    """

    verdict: dict[str, Any]
    manifest: dict[str, Any]
    runs: tuple[RecordedRun, ...]
    digests: dict[str, str]


def find_run(root: Path, name: str) -> Path:
    """Where a run lies: an experiment's latest run, a path, or a run id; what is published comes last.

    An experiment's name is meant before a folder of the same name here (`./tiny` is the folder).

    Raises:
        UsageError: there is no such run.
    """
    if NAME.fullmatch(name) and (root / "runs" / name / "latest").is_dir():
        return (root / "runs" / name / "latest").resolve()
    if os.path.lexists(name):
        return Path(name).resolve()
    for above in ("runs", "manifests"):
        if re.fullmatch(r"[0-9A-Za-z-]{1,64}", name):
            for found in sorted((root / above).glob(f"*/{name}")):
                return found
            if published := sorted((root / above / name).glob("*/verdict.json")):
                return published[-1].parent
    raise UsageError(f"there is no run {name!r}", _REMEDY)


def read_recorded(path: Path, documents: tuple[str, ...], progress: store.Progress) -> Recorded:
    """Verdict, manifest, runs, and the digests of the documents that are there; an archive is checked first.

    Raises:
        UsageError: nothing there is a run.
        EvidenceError: a document is malformed.
        TamperedError: an archive whose form or digests are wrong.
    """
    with _opened(path, progress) as files:
        if not files.exists("verdict.json"):
            raise UsageError(f"{path} holds no verdict.json", _REMEDY)
        verdict = upgraded(_document(files, "verdict.json"), "verdict.json")
        manifest = _document(files, "manifest.json") if files.exists("manifest.json") else {}
        digests = {}
        for name in documents:
            with contextlib.suppress(EvidenceError):
                digests[name] = str(sha256(bytes(files.read(name, max_bytes=MAX_DOCUMENT_BYTES))))
        return Recorded(verdict=verdict, manifest=manifest, runs=_runs(files, manifest), digests=digests)


@contextlib.contextmanager
def _opened(path: Path, progress: store.Progress) -> Iterator[Files]:
    if path.is_dir():
        yield FolderFiles(path)
        return
    from harness.archive.reading import open_archive

    with open_archive(path, progress) as archive:
        yield archive.files


def _document(files: Files, name: str) -> dict[str, Any]:
    try:
        value = json.loads(bytes(files.read(name, max_bytes=MAX_DOCUMENT_BYTES)))
    except (ValueError, RecursionError) as error:
        raise EvidenceError(f"{name} is no JSON: {error}", "get the run again from whoever made it") from error
    if not isinstance(value, dict):
        raise EvidenceError(f"{name} is no JSON table", "get the run again from whoever made it")
    return value


def _runs(files: Files, manifest: dict[str, Any]) -> tuple[RecordedRun, ...]:
    """The runs that a manifest names; rows that name none are left out."""
    rows = manifest.get("runs")
    found = []
    for row in rows[:MAX_RUNS] if isinstance(rows, list) else []:
        trajectory, number = (row.get("trajectory"), row.get("number")) if isinstance(row, dict) else (None, None)
        if isinstance(trajectory, str) and _TRAJECTORY.fullmatch(trajectory) and type(number) is int:
            killed = row.get("exit_code") != 0
            found.append(_run(files.below(f"{trajectory}/runs/{number}"), trajectory, number, killed))
    return tuple(found)


def _run(files: Files, trajectory: str, number: int, killed: bool) -> RecordedRun:
    """As `load_trajectory` reads it: what is torn or malformed is as if it were not there."""
    ledger: Ledger | None = None
    progress: tuple[Progress, ...] = ()
    with contextlib.suppress(EvidenceError):
        if data := bytes(files.read("ledger.jsonl", max_bytes=MAX_FILE_BYTES)):
            ledger = parse_ledger(data, "ledger.jsonl", killed=killed)
    with contextlib.suppress(EvidenceError):
        data = bytes(files.read("progress.jsonl", max_bytes=MAX_FILE_BYTES))
        progress = parse_progress(data, "progress.jsonl", killed=killed)
    return RecordedRun(trajectory=trajectory, number=number, ledger=ledger, progress=progress)
