"""Finds the archived certify of a commit in `manifests/` and `runs/`, verifies it, and opens it for a replay.

Nothing of a record is believed before `harness.verify` found it consistent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.archive.code_tar import NAME as CODE_TAR
from harness.archive.code_tar import unpack_code
from harness.archive.reading import Archive, open_archive
from harness.documents.digest import Digest
from harness.documents.document import MAX_BYTES, read_json
from harness.documents.experiment import Experiment
from harness.errors import EvidenceError, HarnessError, TamperedError, UsageError
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.verdict_inputs import RecordedTraining
from harness.runs.load_evidence import load_trajectory
from harness.system.files import Files, FolderFiles
from harness.system.git import HASH, Exported, Source, find_commit
from harness.system.store import Progress, Store, file_digest, tree_digest
from harness.verify.record import Record, recorded_training
from harness.verify.verification import Verification
from harness.verify.verify import verify

FOLDERS = ("manifests", "runs")
BUNDLE = "certificate.intoto.jsonl"
_STRAIGHT = "straight"
_MAX_CODE_BYTES = 4 << 30
_DOCUMENTS = ("manifest.json", "verdict.json", BUNDLE, "key.json")
_TRAINED = ("images/", "lockfiles/", "pipelines/")
_NAMED = re.compile(r"[0-9A-Za-z@][0-9A-Za-z._/@{}~^+-]{0,199}")
_MAKE_ONE = "certify that commit, or replay an archive or a published folder: harness replay FILE|FOLDER"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordLocation:
    """Where a record lies.

    Attributes:
        path: a folder, or an archive.
        shown: the same for people: relative to the checkout where it lies in it.
        is_by_commit: whether it was found by its commit, so that the code comes from the repository.
    """

    path: Path
    shown: str
    is_by_commit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRecord:
    """A record that was found consistent, open to be read; `archive` is what it was opened from, if that is one."""

    recorded: RecordedTraining
    experiment: Experiment
    code: Digest
    location: RecordLocation
    files: Files
    verification: Verification
    archive: Archive | None = None


def locate(root: Path, name: str, experiment: str | None) -> RecordLocation:
    """Where the record is that somebody named: a file or folder, or the best record of a commit.

    Of several, one that is signed and certified comes first, then one that is certified, of those one of the whole
    training as it is declared, and then the newest.

    Raises:
        UsageError: there is no such record, or there are records of several experiments.
    """
    if os.path.exists(name) and not HASH.fullmatch(name):  # noqa: PTH110 - a name that is too long is no path
        return RecordLocation(path=Path(name).resolve(), shown=_shown(Path(name).resolve(), root))
    if not _NAMED.fullmatch(name) or name.endswith((".tar", ".jsonl", "/")):
        raise UsageError(f"there is no file, folder or commit called {name!r}", _MAKE_ONE)
    known, commit = list(_known(root)), name
    if not HASH.fullmatch(name) or not any(one.commit.startswith(name) for one in known):
        commit = _commit_called(root, name)
    found = [one for one in known if one.commit.startswith(commit)]
    commits = sorted({one.commit for one in found})
    if len(commits) > 1:
        raise UsageError(f"{len(commits)} commits with records begin with {commit}", "give more digits of the hash")
    names = sorted({one.experiment for one in found})
    if experiment is not None:
        found = [one for one in found if one.experiment == experiment]
    if not found:
        where = "neither manifests/ nor runs/ has a record of"
        if experiment is not None and names:
            raise UsageError(f"{where} {experiment} at commit {commit}", f"there are records of: {', '.join(names)}")
        raise UsageError(f"{where} commit {commit}", _MAKE_ONE)
    if len({one.experiment for one in found}) > 1:
        problem = f"commit {commit} has records of several experiments: {', '.join(names)}"
        raise UsageError(problem, f"name one: harness replay {commit} {names[0]} (EXP={names[0]})")
    best = max(found, key=lambda one: one.rank)
    return RecordLocation(path=best.path, shown=_shown(best.path, root), is_by_commit=True)


def _commit_called(root: Path, name: str) -> str:
    """The commit that git calls so: a branch may be called `feed`, which are digits of a hash as well."""
    try:
        return find_commit(root, name).commit
    except HarnessError:
        if HASH.fullmatch(name):
            return name  # a record may name a commit that this repository does not have
        raise


@contextmanager
def open_record(location: RecordLocation, root: Path, store: Store, progress: Progress) -> Iterator[OpenRecord]:
    """Verify a record and open it.

    Raises:
        TamperedError: it is not what somebody signed, or does not follow from its own evidence.
        UsageError: it is no record, or has too little for a replay.
        EvidenceError: it cannot be replayed.
    """
    verification = verify(location.path, root, store, progress)
    if not verification.is_consistent:
        raise TamperedError(f"{location.shown}: {verification.problem}", verification.remedy)
    if verification.level == "certificate":
        problem = f"{location.shown} is only a certificate: it has no ledger to compare with"
        raise UsageError(problem, "give the published folder that it comes from, or an archive")
    if location.path.is_dir():
        yield _read(FolderFiles(location.path), location, verification, None)
        return
    with open_archive(location.path, progress) as archive:
        yield _read(archive.files, location, verification, archive)


def source_of(record: OpenRecord, root: Path, scratch: Path) -> Source:
    """Where the record's code comes from: the repository, the archive, or the run's own folder.

    An archive's code is unpacked into `scratch`.

    Raises:
        UsageError: the repository does not have the commit.
        TamperedError: an archive's code is none.
    """
    commit = record.recorded.record.commit
    if record.archive is not None:
        folder = scratch / "code"
        unpack_code(record.archive.files.read(CODE_TAR, max_bytes=_MAX_CODE_BYTES), folder)
        return Exported(folder=folder, commit=commit)
    own = record.location.path / "code"
    if not record.location.is_by_commit and own.is_dir():
        return Exported(folder=own, commit=commit)
    return find_commit(root, commit)


def check_code(record: OpenRecord, folder: Path) -> None:
    """Hold exported code against the record.

    Raises:
        TamperedError: it is other code than the record's.
    """
    found = tree_digest(folder)
    if found != record.code:
        commit = record.recorded.record.commit[:12]
        problem = (
            f"the files of commit {commit} are not those recorded in {record.location.shown}\n"
            f"  recorded: {record.code}\n  found:    {found}"
        )
        raise TamperedError(problem, "compare this repository with the one that the record comes from")


def keep_copy(record: OpenRecord, folder: Path) -> None:
    """Write what a published record has into a folder, so that a replay holds both sides of its comparison."""
    for name in (*_DOCUMENTS, f"{_STRAIGHT}/run-1.json", f"{_STRAIGHT}/runs/1/ledger.jsonl"):
        if record.files.exists(name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(bytes(record.files.read(name, max_bytes=_MAX_CODE_BYTES)))


def changed_files(one: Path, two: Path) -> tuple[str, ...]:
    """Files that two trees of code do not have alike; what a training hardly reads (documents, tests) comes last."""
    left, right = _digests(one), _digests(two)
    changed = {name for name in left.keys() | right.keys() if left.get(name) != right.get(name)}
    return tuple(sorted(changed, key=lambda name: (not name.startswith(_TRAINED), name)))


def _digests(folder: Path) -> dict[str, str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in paths if "__pycache__" not in path.parts}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What the documents of a record claim, not verified yet."""

    path: Path
    commit: str
    experiment: str
    rank: tuple[bool, bool, bool, str, bool]


def _known(root: Path) -> Iterator[_Known]:
    """Every record of a certify below the checkout; what cannot be read is none."""
    for folder in FOLDERS:
        for path in sorted((root / folder).glob("*/*/manifest.json")):
            run = path.parent
            # A certify that did not end has no certificate.
            if run.is_symlink() or not any((run / name).is_file() for name in ("certificate.json", BUNDLE)):
                continue
            try:
                files = FolderFiles(run)
                manifest, verdict = (_document(files, name) for name in ("manifest.json", "verdict.json"))
            except HarnessError:
                continue
            commit, name = manifest.get("commit"), manifest.get("name")
            is_one = isinstance(commit, str) and isinstance(name, str) and manifest.get("dirty") is False
            if not is_one or verdict.get("kind", "certify") != "certify":
                continue
            is_certified, is_signed = verdict.get("verdict") == "CERTIFIED", (run / BUNDLE).is_file()
            whole = manifest.get("scope") is None and not manifest.get("overrides")
            # Of the same run, its own folder has more than what was published of it.
            rank = (is_certified and is_signed, is_certified, whole, run.name, folder == "runs")
            yield _Known(path=run, commit=str(commit), experiment=str(name), rank=rank)


def _read(files: Files, location: RecordLocation, verification: Verification, archive: Archive | None) -> OpenRecord:
    record, signer = verification.record, verification.signer
    assert record is not None  # more than a certificate was found consistent
    recorded = recorded_training(
        record,
        _straight(record, files, has_files=verification.level == "evidence"),
        source=location.shown,
        key=None if signer is None else signer.name or signer.key_id,
    )
    return OpenRecord(
        recorded=recorded,
        experiment=record.experiment,
        code=record.code,
        location=location,
        files=files,
        verification=verification,
        archive=archive,
    )


def _straight(record: Record, files: Files, *, has_files: bool) -> TrajectoryEvidence:
    runs = record.runs.get(_STRAIGHT, ())
    declared = record.experiment
    globs = (declared.outputs, declared.checkpoints) if has_files else ((), ())
    derived = declared.derived if has_files else ()
    return load_trajectory(files.below(_STRAIGHT), "record", runs, *globs, declared.policy.volatile, derived=derived)


def _document(files: Files, name: str) -> dict[str, Any]:
    try:
        return read_json(bytes(files.read(name, max_bytes=MAX_BYTES)), name)
    except EvidenceError as error:
        raise TamperedError(f"{files.name}: {error.problem}", error.remedy) from error


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
