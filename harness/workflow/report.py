"""Report: the documents of a run, rendered again from its evidence.

The run lies in a folder of `runs/`, in a published one of `manifests/`, or in an archive. None of it is trusted: names
are confined, sizes bounded, and a run whose ledger cannot be read has no curve.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.documents.digest import sha256
from harness.documents.document import MAX_BYTES
from harness.documents.manifest import Manifest
from harness.documents.run import RunFacts
from harness.documents.verdict import Verdict
from harness.errors import EvidenceError, UsageError
from harness.evidence.ledger import MAX_FILE_BYTES, Ledger, parse_ledger, parse_progress
from harness.evidence.ledger import Progress as LoggedStep
from harness.report.curves import Curve, curve_of
from harness.report.documents import NAMES, render_documents
from harness.runs.run_folders import RUN_REMEDY, find_run
from harness.system.files import Files, FolderFiles
from harness.system.store import Progress, disk_errors

MAX_RUNS = 10_000
_TRAJECTORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Everything that documents are rendered from.

    Attributes:
        manifest: None for a run that never came to write one.
        curves: what the runs that the manifest names reported, in its order; empty where nothing can be read.
        digests: sha256 of the documents that lie beside them already, by name.
    """

    verdict: Verdict
    manifest: Manifest | None
    curves: tuple[Curve, ...]
    digests: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What was written.

    Attributes:
        run_id: of the run that the documents are of.
        verdict: its word.
        documents: name -> where it was written.
        digests: name -> sha256 of what was written.
        is_same: name -> whether these are the bytes that lie beside the evidence; None where none lies there.
    """

    run_id: str
    verdict: str
    documents: dict[str, Path]
    digests: dict[str, str]
    is_same: dict[str, bool | None]

    def to_json(self) -> dict[str, Any]:
        """As `harness report --json` prints it."""
        rows = {
            name: {"path": str(path), "sha256": self.digests[name], "same_as_before": self.is_same[name]}
            for name, path in self.documents.items()
        }
        return {"schema": 1, "run_id": self.run_id, "verdict": self.verdict, "documents": rows}


def report(root: Path, name: str, output: Path | None, progress: Progress) -> Rendered:
    """Render every document of a run, an archive or a published manifest into a folder of its own.

    Raises:
        UsageError: there is no such run, or `output` is the folder of one: a certificate names the bytes in there.
    """
    recorded = read_recorded(find_run(root, name), NAMES, progress)
    rendered = render_documents(recorded.verdict, recorded.manifest, recorded.curves)
    run_id = recorded.verdict.run_id
    folder = output or Path(f"report-{''.join(char for char in run_id[:80] if char.isalnum() or char == '-') or 'run'}")
    if any((above / "verdict.json").exists() for above in (folder, *folder.resolve().parents)):
        raise UsageError(f"{folder} is a run's folder, whose certificate names its documents", "give another --output")
    with disk_errors("writing the report"):
        folder.mkdir(parents=True, exist_ok=True)
        for title, content in rendered.items():
            (folder / title).write_bytes(content)
    digests = {title: str(sha256(content)) for title, content in rendered.items()}
    before = recorded.digests
    return Rendered(
        run_id=run_id,
        verdict=recorded.verdict.verdict,
        documents={title: folder / title for title in rendered},
        digests=digests,
        is_same={title: digests[title] == before[title] if title in before else None for title in rendered},
    )


def read_recorded(path: Path, documents: tuple[str, ...], progress: Progress) -> Recorded:
    """Verdict, manifest, runs, and the digests of the documents that are there; an archive is checked first.

    Raises:
        UsageError: nothing there is a run.
        EvidenceError: a document is missing.
        TamperedError: a document is malformed, or the form or a digest of an archive is wrong.
    """
    with _opened(path, progress) as files:
        if not files.exists("verdict.json"):
            raise UsageError(f"{path} holds no verdict.json", RUN_REMEDY)
        verdict = Verdict.load(bytes(files.read("verdict.json", max_bytes=MAX_BYTES)), "verdict.json")
        manifest = None
        if files.exists("manifest.json"):
            manifest = Manifest.load(bytes(files.read("manifest.json", max_bytes=MAX_BYTES)), "manifest.json")
        digests = {}
        for name in documents:
            with contextlib.suppress(EvidenceError):
                digests[name] = str(sha256(bytes(files.read(name, max_bytes=MAX_BYTES))))
        curves = _curves(files, manifest) if manifest else ()
        return Recorded(verdict=verdict, manifest=manifest, curves=curves, digests=digests)


@contextlib.contextmanager
def _opened(path: Path, progress: Progress) -> Iterator[Files]:
    if path.is_dir():
        yield FolderFiles(path)
        return
    from harness.archive.reading import open_archive

    with open_archive(path, progress) as archive:
        yield archive.files


def _curves(files: Files, manifest: Manifest) -> tuple[Curve, ...]:
    """Those of the runs that a manifest names; names that are no plain ones name nothing."""
    named = [run for run in manifest.runs[:MAX_RUNS] if _TRAJECTORY.fullmatch(run.trajectory)]
    return tuple(_curve(files.below(f"{run.trajectory}/runs/{run.number}"), run) for run in named)


def _curve(files: Files, run: RunFacts) -> Curve:
    """What a run reported; what is torn or malformed is as if it were not there."""
    killed = run.exit_code != 0 or run.is_planned_kill
    ledger: Ledger | None = None
    progress: tuple[LoggedStep, ...] = ()
    with contextlib.suppress(EvidenceError):
        if data := bytes(files.read("ledger.jsonl", max_bytes=MAX_FILE_BYTES)):
            ledger = parse_ledger(data, "ledger.jsonl", killed=killed)
    with contextlib.suppress(EvidenceError):
        data = bytes(files.read("progress.jsonl", max_bytes=MAX_FILE_BYTES))
        progress = parse_progress(data, "progress.jsonl", killed=killed)
    return curve_of(run.trajectory, run.number, ledger, progress)
