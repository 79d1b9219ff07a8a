"""The documents that a finished certify or replay leaves in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import harness
from harness.archive.crate import write_crate
from harness.archive.run_folder import list_evidence, note_left_out
from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.manifest import Materials, build_manifest
from harness.report.curves import curves_of
from harness.report.documents import write_reports
from harness.signing.certificate import build_certificate
from harness.system.sources import sources_digest
from harness.system.store import disk_errors, write_json
from harness.workflow.training import Training

DOCUMENTS = (
    "report.html",
    "verdict.json",
    "manifest.json",
    "certificate.json",
    "summary.md",
    "junit.xml",
    "badge.svg",
    "macros.tex",
    "sbom.cdx.json",
    "ro-crate-metadata.json",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of it: the run's folder and its documents."""

    folder: Path
    verdict: Verdict
    manifest: Manifest

    @property
    def exit_code(self) -> int:
        return self.verdict.exit_code

    @property
    def documents(self) -> dict[str, Path]:
        """What a person may want to open, by name."""
        found = {name.partition(".")[0]: self.folder / name for name in DOCUMENTS}
        return {name: path for name, path in found.items() if path.is_file()}


def write_documents(
    training: Training,
    runner: str,
    document: dict[str, Any],
    evidence: tuple[TrajectoryEvidence, ...],
    materials: Materials,
) -> Result:
    """Manifest, verdict, reports, and last the certificate, which lists the digest of every file of the run."""
    finished = datetime.now(UTC)
    volatile = {
        "started": training.started.isoformat(timespec="seconds"),
        "finished": finished.isoformat(timespec="seconds"),
        "seconds": training.seconds,
        **({"interpreter": str(training.request.python)} if training.request.python else {}),
    }
    manifest = build_manifest(
        name=training.request.name,
        run_id=training.run_id,
        runner=runner,
        version=harness.__version__,
        experiment=training.experiment,
        materials=materials,
        trajectories=evidence,
        volatile=volatile,
        review=document["review"],
        scope=training.scope,
        overrides=training.request.overrides,
        sources=sources_digest(),
    )
    with disk_errors("writing the verdict"):
        write_json(training.folder / "manifest.json", manifest)
        write_json(training.folder / "verdict.json", document)
        result = Result(
            folder=training.folder,
            verdict=Verdict.from_json(document, "verdict.json"),
            manifest=Manifest.from_json(manifest, "manifest.json"),
        )
        write_reports(training.folder, result.verdict, result.manifest, curves_of(evidence))
        write_crate(training.folder, result.verdict, result.manifest)
        note_left_out(training.folder)
        digests = {name: str(digest) for name, digest in list_evidence(training.folder).items()}
        (training.folder / "certificate.json").write_bytes(build_certificate(result.verdict, result.manifest, digests))
    return result
