"""A run that ended with a certificate, and whose files are still those that the certificate lists."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.archive.listing import left_out_now, list_evidence
from harness.documents.digest import canonical_json
from harness.documents.verdict import upgraded
from harness.errors import EvidenceError, TamperedError, UsageError
from harness.images.oci_documents import MAX_TITLES, NOT_ARCHIVED, is_title
from harness.signing.statements import parse_statement
from harness.system.store import disk_errors

_AGAIN = "certify again: the certificate and the files that it lists are written together"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A run's folder, its documents, and the sha256 (`sha256:<hex>`) of every file of evidence by name."""

    folder: Path
    certificate: bytes
    verdict: Mapping[str, Any]
    manifest: Mapping[str, Any]
    evidence: Mapping[str, str]

    @property
    def experiment(self) -> str:
        """The experiment's name."""
        return str(self.verdict["experiment"])

    @property
    def run_id(self) -> str:
        """The run's id."""
        return str(self.verdict["run_id"])


def read_finished(folder: Path) -> FinishedRun:
    """Read a run's folder and hold every file against its certificate.

    Raises:
        UsageError: it is no run's folder, the run did not finish, or it holds what no archive can.
        TamperedError: a file is not what it was when the certificate was written; it is named.
    """
    if not (folder / "verdict.json").is_file():
        raise UsageError(f"{folder} is no run's folder: it has no verdict.json", "give runs/<experiment>/<run id>")
    if not all((folder / name).is_file() for name in ("certificate.json", "manifest.json")):
        remedy = "certify again and let it end: only a run with a certificate is archived"
        raise UsageError(f"{folder.name} did not finish: it has no certificate", remedy)
    with disk_errors("reading the run"):
        certificate = (folder / "certificate.json").read_bytes()
        evidence = {name: str(digest) for name, digest in list_evidence(folder).items()}
    listed = _listed(certificate, folder.name)
    _compare(listed, evidence, folder.name)
    run = FinishedRun(
        folder=folder,
        certificate=certificate,
        verdict=upgraded(_document(folder / "verdict.json"), "verdict.json"),
        manifest=_document(folder / "manifest.json"),
        evidence=evidence,
    )
    _check_archivable(run)
    return run


def _listed(certificate: bytes, name: str) -> dict[str, str]:
    try:
        rows = parse_statement(certificate)["predicate"]["evidence"]
        return {row["name"]: f"sha256:{row['digest']['sha256']}" for row in rows}
    except (KeyError, TypeError, EvidenceError) as error:
        raise TamperedError(f"{name}: its certificate.json is not as it was written", _AGAIN) from error


def _compare(listed: Mapping[str, str], present: Mapping[str, str], name: str) -> None:
    if listed.keys() == {"manifest.json", "verdict.json"} < present.keys():
        raise UsageError(f"{name}: its certificate lists no evidence, an older harness wrote it", "certify again")
    for file in sorted(listed.keys() | present.keys()):
        if listed.get(file) != present.get(file):
            how = "is gone" if file not in present else "is not listed" if file not in listed else "was changed"
            what = "the exported code (code/)" if file == "code.tar" else file
            raise TamperedError(f"{name}: {what} {how} since the certificate was written", _AGAIN)


def _check_archivable(run: FinishedRun) -> None:
    if len(run.evidence) > MAX_TITLES:
        problem = f"{run.folder.name} holds {len(run.evidence)} files, at most {MAX_TITLES} go into an archive"
        raise UsageError(problem, "let the pipeline write fewer files")
    for name in run.evidence:
        if not is_title(name) or not (name == "code.tar" or (run.folder / name).is_file()):
            raise UsageError(f"{name!a} is no name for a file in an archive", "use UTF-8 without control characters")
    now = left_out_now(run.folder)
    told = (run.folder / NOT_ARCHIVED).read_bytes() if NOT_ARCHIVED in run.evidence else b""
    if told != (canonical_json(now) if any(now.values()) else b""):
        raise TamperedError(f"{run.folder.name}: links or folders were added or removed since then", _AGAIN)


def _document(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise TamperedError(f"{path.name} is no JSON", _AGAIN) from error
    if not isinstance(value, dict):
        raise TamperedError(f"{path.name} is no JSON object", _AGAIN)
    return value
