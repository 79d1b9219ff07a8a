"""What a replay is held against: of an earlier certify the straight run, the files' digests, image and environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.documents.digest import Digest
from harness.documents.scope import Prefix
from harness.errors import EvidenceError
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.locate import ledger_of
from harness.judge.recorded import Record

_REMEDY = "take another record of the same commit, or an archive of this one"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFile:
    """What a record says of a declared file that the straight run left."""

    role: str
    size_bytes: int
    sha256: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The record that is replayed.

    Attributes:
        verdict: its word.
        source: where it lies, for people.
        key: who signed it: a trusted name, or the key's id; None for a record that nobody signed.
        image_id: of the image that it trained in; None without a container.
        image_key: the digest of everything that the image was made of, the builder's version included.
        recorder: the digest of the recorder that wrote the ledger.
        scope: the steps that it has, where only a prefix was certified.
        straight: its straight trajectory; files only where the record has them.
        environment: of its manifest.
        facts: what else of its manifest is held against today's by deepdiff.
    """

    run_id: str
    experiment: str
    commit: str
    verdict: str
    source: str
    key: str | None
    finished: str
    image_id: str | None
    image_key: str | None
    recorder: str
    prepared: Mapping[str, str]
    files: Mapping[str, RecordedFile]
    straight: TrajectoryEvidence
    scope: Prefix | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_steps(self) -> int:
        """How many steps its ledger has."""
        return ledger_of(self.straight.runs[0]).last_step


def recorded_of(
    record: Record,
    manifest: Mapping[str, Any],
    straight: TrajectoryEvidence,
    *,
    verdict: str,
    source: str,
    key: str | None,
) -> Recorded:
    """What a replay needs of a record.

    Args:
        record: its documents, read and found to speak of the same certify.
        manifest: the same manifest, for what is only compared.
        straight: what it has of the straight trajectory.
        verdict: its word.
        source: where it lies, for people.
        key: who signed it.

    Raises:
        EvidenceError: it was made of uncommitted changes, is itself a replay, or has no ledger.
    """
    if record.kind != "certify":
        raise EvidenceError(f"{source} is the record of a replay", "replay the certify that it was held against")
    if record.dirty:
        raise EvidenceError(f"{source} was made of uncommitted changes: no commit has its code", "certify a commit")
    if not straight.runs or straight.runs[0].ledger is None:
        why = straight.runs[0].problem if straight.runs else "it never came to a run"
        raise EvidenceError(f"{source} has no ledger of its straight run: {why}", _REMEDY)
    volatile, image = _table(manifest.get("volatile")), _table(manifest.get("image"))
    return Recorded(
        run_id=record.run_id,
        experiment=record.name,
        commit=record.commit,
        verdict=verdict,
        source=source,
        key=key,
        finished=str(volatile.get("finished") or ""),
        image_id=record.image_id,
        image_key=_digest(image.get("key")),
        recorder=record.recorder,
        prepared={str(name): str(value) for name, value in _table(manifest.get("prepared")).items()},
        files=_files(manifest),
        straight=straight,
        scope=record.scope,
        environment=_table(manifest.get("environment")),
        facts={name: manifest.get(name) for name in ("harness", "image", "runner")},
    )


def _files(manifest: Mapping[str, Any]) -> dict[str, RecordedFile]:
    rows = _table(_table(_table(manifest.get("trajectories")).get("straight")).get("files"))
    return {
        str(path): RecordedFile(
            role="checkpoint" if _table(row).get("role") == "checkpoint" else "output",
            size_bytes=size if isinstance(size := _table(row).get("size_bytes"), int) else 0,
            sha256=_digest(_table(row).get("sha256")) or "",
            content=_digest(_table(row).get("content")) or "",
        )
        for path, row in sorted(rows.items())
    }


def _digest(value: object) -> str | None:
    try:
        return str(Digest.parse(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
