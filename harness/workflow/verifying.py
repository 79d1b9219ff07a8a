"""Verify, with the reports: what the host recomputes, and what the presenters write again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.core.evidence import TrajectoryEvidence
from harness.core.verifying.verification import Verification
from harness.host.store import Progress, Store
from harness.host.verifying import verifying
from harness.report.documents import curves_of, render_documents


def verify(path: Path, root: Path | None, store: Store | None, progress: Progress) -> Verification:
    """Recompute everything that can be recomputed from an archive, a folder or a certificate.

    Raises:
        UsageError: there is nothing that could be verified.
    """
    return verifying.verify(path, root, store, progress, _rendered)


def _rendered(
    verdict: dict[str, Any], manifest: dict[str, Any], evidence: tuple[TrajectoryEvidence, ...]
) -> Mapping[str, bytes]:
    return render_documents(verdict, manifest, curves_of(evidence))
