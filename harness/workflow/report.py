"""Report: the documents of a run, rendered again from its evidence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.documents.digest import sha256
from harness.errors import UsageError
from harness.report.documents import NAMES, curve_of, render_documents
from harness.system.store import Progress, disk_errors
from harness.workflow.recorded_run import find_run, read_recorded


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

    Args:
        root: the checkout, for run ids and experiments' names.
        name: a path, a run id, or an experiment's name for its latest run.
        output: where to write; None for `report-<run id>` here.
        progress: told how much of an archive is read.

    Raises:
        UsageError: there is no such run, or `output` is the folder of one: a certificate names the bytes in there.
    """
    recorded = read_recorded(find_run(root, name), NAMES, progress)
    curves = tuple(curve_of(run.trajectory, run.number, run.ledger, run.progress) for run in recorded.runs)
    rendered = render_documents(recorded.verdict, recorded.manifest, curves)
    run_id = str(recorded.verdict.get("run_id", ""))
    folder = output or Path(f"report-{''.join(char for char in run_id[:80] if char.isalnum() or char == '-') or 'run'}")
    if (folder / "verdict.json").exists():
        raise UsageError(f"{folder} is a run's folder, whose certificate names its documents", "give another --output")
    with disk_errors("writing the report"):
        folder.mkdir(parents=True, exist_ok=True)
        for title, content in rendered.items():
            (folder / title).write_bytes(content)
    digests = {title: str(sha256(content)) for title, content in rendered.items()}
    before = recorded.digests
    return Rendered(
        run_id=run_id,
        verdict=str(recorded.verdict.get("verdict", "")),
        documents={title: folder / title for title in rendered},
        digests=digests,
        is_same={title: digests[title] == before[title] if title in before else None for title in rendered},
    )
