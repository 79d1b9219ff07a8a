"""Verify, with the reports: what the host recomputes, and what the presenters write again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.evidence.trajectory import TrajectoryEvidence
from harness.system.store import Progress, Store
from harness.verify.verification import Verification
from harness.verify.verify import verify as verify_evidence


def verify(path: Path, root: Path | None, store: Store | None, progress: Progress) -> Verification:
    """Recompute everything that can be recomputed from an archive, a folder or a certificate.

    Raises:
        UsageError: there is nothing that could be verified.
    """
    return verify_evidence(path, root, store, progress, rendered_again)


def rendered_again(
    verdict: Verdict, manifest: Manifest, evidence: tuple[TrajectoryEvidence, ...]
) -> Mapping[str, bytes]:
    """The reports of a verdict, by their names."""
    # Drawing needs the extra; without it verify says what it could not write again.
    from harness.report.curves import curves_of
    from harness.report.documents import render_documents

    return render_documents(verdict, manifest, curves_of(evidence))
