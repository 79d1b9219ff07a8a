"""Manifest, research crate and reports: written again, and compared with what is here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness.archive.crate import CRATE, described_files, render_crate
from harness.documents.digest import Digest
from harness.documents.document import REMEDY
from harness.documents.manifest import Manifest
from harness.errors import TamperedError
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.manifest import Materials, build_manifest
from harness.system.files import Files
from harness.verify.comparison import first_difference
from harness.verify.material import Material
from harness.verify.record import Record

_MAX_REPORT_BYTES = 64 << 20
_AS_READ = {"files": {"__all__": {"content"}}}


def manifest_again(record: Record, evidence: Mapping[str, TrajectoryEvidence]) -> dict[str, Any]:
    """The manifest, written again from the evidence and from what only it can say."""
    told = record.manifest
    environment = told.environment.model_dump(mode="json", exclude_unset=True)
    volatile = told.volatile.model_dump(mode="json", exclude_unset=True, exclude={"run_id", "runs"})
    review = record.verdict.review
    return build_manifest(
        name=told.name,
        run_id=told.volatile.run_id,
        runner=told.runner,
        version=told.harness.version,
        experiment=record.experiment,
        materials=Materials(
            commit=told.commit,
            is_dirty=told.dirty,
            code=record.code,
            recorder=Digest.parse(told.harness.recorder),
            image=told.image.model_dump(mode="json", exclude_unset=True),
            prepared=told.prepared,
            host=environment["host"],
            gpu=environment["gpu"],
            interpreter=environment.get("interpreter"),
        ),
        trajectories=tuple(evidence.values()),
        volatile=volatile,
        scope=record.scope,
        overrides=told.overrides,
        sources=Digest.parse(told.harness.sources) if told.harness.sources else None,
        review=None if review is None else review.to_json(),
    )


def check_manifest(
    record: Record, evidence: Mapping[str, TrajectoryEvidence], document: bytes, *, is_same: bool
) -> None:
    """Compare the manifest with the one that the evidence gives.

    Args:
        record: the documents.
        evidence: the trajectories, read again.
        document: the bytes of `manifest.json`.
        is_same: whether this harness wrote it: then every byte must be the same.

    Raises:
        TamperedError: it does not follow from the evidence.
    """
    again = manifest_again(record, evidence)
    found = Manifest.from_json(again, "manifest.json")
    different = _of_trajectories(found, record.manifest, is_same=is_same)
    if not different and is_same and (json.dumps(again, indent=1, sort_keys=True) + "\n").encode() != document:
        different = first_difference(found.to_json(), record.manifest.to_json(), only_common=False)
        different = different or "its keys, or their order"
    if different:
        raise _tampered(f"manifest.json does not follow from the evidence: {different}")


def check_crate(record: Record, material: Material, code: Files) -> None:
    """Write the research crate again.

    Raises:
        TamperedError: it is another, or is missing.
    """
    names = described_files(record.manifest)
    digests = {name: str(material.digests[name]) for name in names if name in material.digests}
    try:
        ours = render_crate(record.verdict, record.manifest, digests, code).encode()
    except (TypeError, ValueError) as error:
        raise _tampered(f"{CRATE} cannot be written again: {error}") from error
    if material.needed(CRATE, _MAX_REPORT_BYTES) != ours:
        raise _tampered(f"{CRATE} is not what this harness writes of this run")


def check_rendered(rendered: Mapping[str, bytes], material: Material) -> int:
    """Compare the reports with those that were written again; returns how many there are.

    Raises:
        TamperedError: one is another, or is missing.
    """
    for name, ours in rendered.items():
        if material.needed(name, _MAX_REPORT_BYTES) != ours:
            raise _tampered(f"{name} is not what this harness renders of this verdict")
    return len(rendered)


def _of_trajectories(found: Manifest, told: Manifest, *, is_same: bool) -> str | None:
    """Where trajectories differ: none, no file and no ledger may be missing, whichever version wrote this.

    Another version may have read a file otherwise; its bytes are those that the manifest names all the same.
    """
    for name, ours in found.trajectories.items():
        theirs = told.trajectories[name]
        if theirs.files.keys() != ours.files.keys():
            return f"trajectories.{name}.files names other files than the evidence holds"
        at = f"trajectories.{name}"
        sides = [side.model_dump(mode="json", exclude=None if is_same else _AS_READ) for side in (ours, theirs)]
        if different := first_difference(*sides, only_common=False, path=at):
            return different
    return None


def _tampered(problem: str) -> TamperedError:
    return TamperedError(problem, REMEDY)
