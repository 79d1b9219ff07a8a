"""Verify, with the reports: what the host recomputes, and what the presenters write again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.evidence.trajectory import TrajectoryEvidence
from harness.report.documents import curves_of, render_documents
from harness.system.store import Progress, Store
from harness.verify.verification import Verification
from harness.verify.verify import verify as verify_evidence


def verify(path: Path, root: Path | None, store: Store | None, progress: Progress) -> Verification:
    """Recompute everything that can be recomputed from an archive, a folder or a certificate.

    Raises:
        UsageError: there is nothing that could be verified.
    """
    return verify_evidence(path, root, store, progress, _rendered)


def _rendered(
    verdict: dict[str, Any], manifest: dict[str, Any], evidence: tuple[TrajectoryEvidence, ...]
) -> Mapping[str, bytes]:
    return render_documents(verdict, manifest, curves_of(evidence))
