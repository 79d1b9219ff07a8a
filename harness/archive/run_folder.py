"""A finished run's folder: the files that are its evidence, which its certificate lists and an archive holds.

Everything below the folder is, but the exported code (one entry, `code.tar`), what can be fetched or made again
(`inputs/`, `prepare/`), and the certificate itself with the key that signed it. An archive holds regular files only:
links, empty folders and whatever else lies there is named in `not-archived.json`, which is evidence too, so that who
judges inside an archive sees what was seen in the folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.archive.code_tar import NAME as CODE_TAR
from harness.archive.code_tar import code_tar_digest
from harness.documents.archive import LeftOut
from harness.documents.digest import Digest
from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.errors import EvidenceError, TamperedError, UsageError
from harness.images.oci_documents import MAX_TITLES, NOT_ARCHIVED, is_title
from harness.signing.certificate import parse_statement
from harness.system.held import LOCK
from harness.system.safe_read import clean
from harness.system.store import disk_errors, file_digest

_LEFT_OUT = {LOCK, "code", "inputs", "prepare", "key.json", NOT_ARCHIVED}
_AGAIN = "certify again: the certificate and the files that it lists are written together"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A run's folder, its documents, and the sha256 (`sha256:<hex>`) of every file of evidence by name."""

    folder: Path
    certificate: bytes
    verdict: Verdict
    manifest: Manifest
    evidence: Mapping[str, str]


def list_files(folder: Path) -> tuple[tuple[str, ...], LeftOut]:
    """The regular files that belong to a run, named as the file system has them, and what else lies there.

    Raises:
        OSError: a folder cannot be read.
    """
    found: dict[str, list[str]] = {"file": [], "link": [], "other": [], "empty": []}
    for number, (path, kind) in enumerate(_walk(folder)):
        found[kind].append(path if kind == "file" else clean(path))
        if number >= MAX_TITLES:
            break  # so many are in no archive; a certificate lists the first of them
    files, links, others, empty = (tuple(sorted(found[kind])) for kind in ("file", "link", "other", "empty"))
    return files, LeftOut(links=links, others=others, empty=empty)


def list_evidence(folder: Path) -> dict[str, Digest]:
    """The sha256 of every file that belongs to a run, by its name, sorted; `code.tar` where there is code.

    Raises:
        OSError: a file cannot be read.
    """
    found = {clean(path): Digest.parse(file_digest(folder / path)) for path in list_files(folder)[0]}
    if (folder / NOT_ARCHIVED).is_file():
        found[NOT_ARCHIVED] = Digest.parse(file_digest(folder / NOT_ARCHIVED))
    if (folder / "code").is_dir():
        found[CODE_TAR] = code_tar_digest(folder / "code")
    return dict(sorted(found.items()))


def note_left_out(folder: Path) -> None:
    """Write `not-archived.json` where there is something to name; to be called before the evidence is listed."""
    _, left_out = list_files(folder)
    if left_out.paths:
        (folder / NOT_ARCHIVED).write_bytes(left_out.write())


def read_finished(folder: Path) -> FinishedRun:
    """Read a run's folder and check every file against its certificate.

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
        verdict, manifest = ((folder / name).read_bytes() for name in ("verdict.json", "manifest.json"))
    _compare(_listed(certificate, folder.name), evidence, folder.name)
    run = FinishedRun(
        folder=folder,
        certificate=certificate,
        verdict=Verdict.load(verdict, "verdict.json"),
        manifest=Manifest.load(manifest, "manifest.json"),
        evidence=evidence,
    )
    _check_archivable(run)
    return run


def _walk(folder: Path) -> Iterator[tuple[str, str]]:
    """Paths below a run's folder that belong to the run, each a `file`, a `link`, an `empty` folder or `other`."""
    folders = [""]
    while folders:
        relative = folders.pop()
        with os.scandir(folder / relative) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
        if not inside:
            yield relative, "empty"
        for entry in inside:
            path = f"{relative}/{entry.name}" if relative else entry.name
            if not relative and (entry.name in _LEFT_OUT or entry.name.startswith("certificate")):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            else:
                yield path, "link" if entry.is_symlink() else "file" if entry.is_file() else "other"


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
            what = "the exported code (code/)" if file == CODE_TAR else file
            raise TamperedError(f"{name}: {what} {how} since the certificate was written", _AGAIN)


def _check_archivable(run: FinishedRun) -> None:
    if len(run.evidence) > MAX_TITLES:
        problem = f"{run.folder.name} holds {len(run.evidence)} files, at most {MAX_TITLES} go into an archive"
        raise UsageError(problem, "let the pipeline write fewer files")
    for name in run.evidence:
        if not is_title(name) or not (name == CODE_TAR or (run.folder / name).is_file()):
            raise UsageError(f"{name!a} is no name for a file in an archive", "use UTF-8 without control characters")
    _, now = list_files(run.folder)
    told = (run.folder / NOT_ARCHIVED).read_bytes() if NOT_ARCHIVED in run.evidence else b""
    if told != (now.write() if now.paths else b""):
        raise TamperedError(f"{run.folder.name}: links or folders were added or removed since then", _AGAIN)
