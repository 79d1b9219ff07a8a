"""Verify, with the reports: what the host recomputes, and what the presenters write again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.errors import UsageError
from harness.evidence.trajectory import TrajectoryEvidence
from harness.runs.run_folders import find_run
from harness.system.store import Progress, Store
from harness.verify.verification import Verification
from harness.verify.verify import verify as verify_evidence


def verify(path: Path, root: Path | None, store: Store | None, progress: Progress) -> Verification:
    """Recompute everything that can be recomputed from an archive, a folder or a certificate.

    Args:
        path: where it lies; where nothing does, what `find_run` finds: an experiment's newest run.
        root: a checkout, whose runs and keys are known.
        store: the cache, if there is one.
        progress: told of each stage.

    Raises:
        UsageError: there is nothing that could be verified.
    """
    if root is not None and not os.path.lexists(path):
        with contextlib.suppress(UsageError):
            path = find_run(root, str(path))
    return verify_evidence(path, root, store, progress, rendered_again)


def rendered_again(
    verdict: Verdict, manifest: Manifest, evidence: tuple[TrajectoryEvidence, ...]
) -> Mapping[str, bytes]:
    """The reports of a verdict, by their names."""
    # Drawing needs the extra; without it verify says what it could not write again.
    from harness.report.curves import curves_of
    from harness.report.documents import render_documents

    return render_documents(verdict, manifest, curves_of(evidence))
