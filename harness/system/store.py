"""The cache on this machine: blobs named by their sha256, small JSON records, scratch folders and locks.

Everything in it can be deleted at any time and is fetched or built again. Several processes may share it: a
file is written under a temporary name, verified and renamed, and whoever does long work holds a lock. A
process that was killed leaves a scratch folder whose lock is free; the next process removes it. At the end stands
how files are written and digested, in the cache and in the folders of runs.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from harness.documents.digest import Digest, canonical_json, sha256
from harness.documents.document import MAX_BYTES
from harness.errors import EvidenceError, HostError, UsageError
from harness.system.held import left_folders, locked, temporary_folder

Progress = Callable[[str], None]
M = TypeVar("M", bound=BaseModel)
_USE = "use.lock"


def _do_nothing(*_: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Store:
    """A cache folder; `open_store` makes one.

    Attributes:
        archives: folders with blobs laid out alike, only read.
        is_offline: nothing is fetched: what is neither here nor in an archive cannot be had.
        tell: called, once for each, for a blob in an archive that is not what its name says.
    """

    root: Path
    archives: tuple[Path, ...] = ()
    is_offline: bool = False
    tell: Progress = field(default=_do_nothing, compare=False)
    _passed_over: set[Path] = field(default_factory=set, init=False, compare=False, repr=False)

    def blob(self, digest: str) -> Path:
        """Where the file with this digest (`sha256:<hex>`) lies, or would lie."""
        digits = digest.removeprefix("sha256:")
        return self.root / "sha256" / digits[:2] / digits

    def find(self, digest: str) -> Path | None:
        """The blob with this digest, verified, if it is here or in an archive, from which it is copied.

        One that is not what its name says is removed from here, for it can be fetched again, and is passed over in an
        archive, for the next one may have it, or a package source.
        """
        blob = self.blob(digest)
        if blob.is_file():
            if file_digest(blob) == digest:
                return blob
            blob.unlink()
        for archive in self.archives:
            path = Store(archive).blob(digest)
            if path.is_file() and (copied := self._copy(path, digest)) is not None:
                return copied
        return None

    def _copy(self, path: Path, digest: str) -> Path | None:
        """Copy a blob of an archive in; None, and a word about it, if it is not what its name says."""
        with self.scratch("archive") as scratch:
            copy = Path(shutil.copyfile(path, scratch / "blob"))
            if file_digest(copy) == digest:
                return self.add(copy, digest, str(path))
        if path not in self._passed_over:
            self._passed_over.add(path)
            self.tell(f"{path} is skipped: its sha256 is not its name")
        return None

    def add(self, path: Path, digest: str, what: str) -> Path:
        """Move a file (on the cache's file system) in, verified; `what` names it in an error.

        Raises:
            UsageError: the contents are not those; the file is removed.
        """
        found = file_digest(path)
        if found != digest:
            path.unlink()
            problem = f"{what}: the sha256 is not the one that is pinned\n  expected: {digest}\n  found:    {found}"
            raise UsageError(problem, "somebody changed the file or the pin: find out which, then pin it again")
        target = self.blob(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        return target

    def needs_network(self, what: str, num_more: int = 0) -> None:
        """Called before something, and perhaps more of its kind, is fetched.

        Raises:
            HostError: this is offline.
        """
        if self.is_offline:
            places = ", ".join(map(str, self.archives))
            remedy = "fetch it on a machine that has a network: `harness fetch EXPERIMENT --output DIR`"
            what += f" and {num_more} more" if num_more else ""
            raise HostError(f"{what}: neither the cache nor {places} has it, and this is offline", remedy)

    def folder(self, *parts: str) -> Path:
        """A folder of the cache, made if it is not there.

        Raises:
            HostError: it cannot be made.
        """
        path = self.root.joinpath(*parts)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problem = f"the cache folder {path} cannot be made: {error.strerror}"
            raise HostError(problem, "set HARNESS_CACHE to a folder that can be written") from error
        return path

    def read_record(self, kind: str, key: str) -> dict[str, Any] | None:
        """A record that was written, or None; one that cannot be read counts as absent: it is only a cache."""
        try:
            value = json.loads(self._record(kind, key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def read(self, kind: str, key: str, model: type[M]) -> M | None:
        """A record of this form, or None."""
        try:
            return model.model_validate_json(self._record(kind, key).read_bytes())
        except (OSError, ValidationError):
            return None

    def write_record(self, kind: str, key: str, value: Mapping[str, object]) -> Path:
        """Write a record atomically, as canonical JSON; returns where."""
        self.folder(kind)
        path = self._record(kind, key)
        write_atomically(path, json.dumps(value, sort_keys=True, indent=1) + "\n")
        return path

    def _record(self, kind: str, key: str) -> Path:
        return self.root / kind / f"{key.removeprefix('sha256:')}.json"

    def locked(self, name: str, waiting: Callable[[], None] | None = None) -> contextlib.AbstractContextManager[None]:
        """Hold the lock `name` (one holder among all processes); `waiting` is called when somebody else has it."""
        return locked(self.folder("locks") / f"{name}.lock", waiting or _do_nothing)

    def in_use(self) -> contextlib.AbstractContextManager[None]:
        """Work with the cache: nothing is collected from it meanwhile. Any number of processes may at once."""
        return locked(self.folder("locks") / _USE, kind="shared")

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Have the cache for oneself.

        Raises:
            HostError: another process works with it.
        """

        def refuse() -> None:
            problem = f"another process works with the cache {self.root}"
            raise HostError(problem, "wait until every certify and build has ended")

        return locked(self.folder("locks") / _USE, refuse)

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """An empty folder on the cache's file system, removed at the end, whatever happens."""
        parent = self.folder("scratch")
        for left in left_folders(parent):
            shutil.rmtree(left, ignore_errors=True)
        with temporary_folder(f"{name}-", parent) as path:
            yield path


def open_store(
    path: Path | None, environment: Mapping[str, str], tell: Progress = _do_nothing, *, offline: Path | None = None
) -> Store:
    """The cache in a given folder, else in `$HARNESS_CACHE`, else in the user's own cache folder.

    With `offline`, a folder that `harness fetch` wrote, what the cache lacks comes from there and from no network.

    It is made when something is written.

    Raises:
        HostError: HARNESS_ARCHIVE names no folder.
    """
    home = environment.get("XDG_CACHE_HOME") or os.path.join(environment.get("HOME", "/root"), ".cache")  # noqa: PTH118
    root = path or Path(environment.get("HARNESS_CACHE") or Path(home) / "repro-harness")
    archives = [Path(part) for part in environment.get("HARNESS_ARCHIVE", "").split(os.pathsep) if part]
    if missing := [path for path in archives if not path.is_dir()]:
        raise HostError(f"HARNESS_ARCHIVE names {missing[0]}, which is not a folder", "correct or unset it")
    folders = (*([offline.resolve()] if offline else []), *archives)
    return Store(root.resolve(), folders, is_offline=offline is not None, tell=tell)


def file_digest(path: Path) -> str:
    """`sha256:<hex>` of a file's contents."""
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A name beside a file; what is written there takes the file's place in one step, unless something is raised."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Replace a text file in one step: a reader sees the old text or the new one."""
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Turn a full or failing disk into an error with a remedy; `doing` names the work: "fetching wheels".

    Raises:
        HostError: the operating system refused a read or a write.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not the operating system's: the HTTP libraries derive theirs from OSError
            raise
        problem = f"{doing}: {error.strerror or error}" + (f" ({error.filename})" if error.filename else "")
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "free some disk space, or set HARNESS_CACHE to a larger disk" if full else "see the path that is named"
        raise HostError(problem, remedy) from error


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write a document with sorted keys, in one step.

    Raises:
        EvidenceError: it is larger than who verifies it reads.
    """
    text = json.dumps(value, indent=1, sort_keys=True) + "\n"
    if len(text) > MAX_BYTES:
        problem = f"{path.name} would have {len(text)} bytes, and at most {MAX_BYTES} of a document are read"
        raise EvidenceError(problem, "let the training write fewer files, with shorter names")
    write_atomically(path, text)


def point_latest(folder: Path) -> None:
    """`latest` points at the newest run.

    Raises:
        HostError: the disk is full.
    """
    with disk_errors("pointing `latest` at this run"), replaced(folder.parent / "latest") as temporary:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(folder.name)


def tree_digest(folder: Path, without: Path | None = None) -> Digest:
    """sha256 over the sorted relative paths and contents of the files below a folder, but for one."""
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts and path != without
    )
    return sha256(canonical_json({name: file_digest(folder / name) for name in names}))
