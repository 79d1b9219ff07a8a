"""An archive's bytes, read where they are needed and hashed by several threads, and the files that lie in them."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.documents.archive import LeftOut
from harness.documents.digest import Data, Digest, chunks
from harness.errors import EvidenceError, HostError, TamperedError, UsageError
from harness.evidence.reader import Part
from harness.images.oci_documents import Blob
from harness.system.deferred_signals import Pool, wait_for
from harness.system.files import Files
from harness.system.safe_read import MAX_DEPTH, MAX_ENTRIES, REMEDY, clean

_NUM_THREADS = 2
_NOT_ONE = "give a file that `harness archive` wrote"
_CHANGED = "let nothing write to the archive while it is read"


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """An open archive, and its size when it was opened."""

    descriptor: int
    size: int
    name: str

    def read(self, offset: int, size: int) -> bytes:
        """The bytes at an offset; fewer only at the end of the file.

        Raises:
            HostError: the file cannot be read.
        """
        pieces = []
        while size > 0:
            try:
                piece = os.pread(self.descriptor, size, offset)
            except OSError as error:
                raise HostError(f"{self.name} cannot be read: {error.strerror}", "check the disk") from error
            if not piece:
                break
            pieces.append(piece)
            offset, size = offset + len(piece), size - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, place: slice, /) -> bytes:
        begin, end, _ = place.indices(self.size)
        data = self.read(begin, end - begin)
        if len(data) != max(0, end - begin):
            raise HostError(f"{self.name} became shorter while it was read", _CHANGED)
        return data

    def __bytes__(self) -> bytes:
        return self[:]

    def check(self, blobs: Iterable[tuple[Blob, int]]) -> None:
        """Hash every blob at its offset, large ones first, in two threads with a small buffer each.

        Raises:
            TamperedError: the contents of one are not what its name says.
            HostError: the file cannot be read.
        """
        stop = threading.Event()
        ordered = sorted(blobs, key=lambda pair: (-pair[0].size, pair[1]))
        with Pool(_NUM_THREADS) as pool:
            try:
                digests = [(blob, pool.submit(self._digest, blob, offset, stop)) for blob, offset in ordered]
                wait_for([digest for _, digest in digests])
            except KeyboardInterrupt:
                stop.set()
                raise
            wrong = [blob for blob, digest in digests if blob.digest != digest.result()]
        if wrong:
            problem = f"{self.name}: {len(wrong)} of its files are not what they were, first {wrong[0].path}"
            raise TamperedError(problem, "get the archive again from whoever made it, and compare its sha256")

    def _digest(self, blob: Blob, offset: int, stop: threading.Event) -> str:
        hasher = hashlib.sha256()
        try:
            for chunk in chunks(Part(self, offset, offset + blob.size)):
                if stop.is_set():
                    break
                hasher.update(chunk)
        except HostError:
            stop.set()
            raise
        return "sha256:" + hasher.hexdigest()


def open_file(path: Path) -> ArchiveFile:
    """Open an archive; `os.close` its descriptor afterwards.

    Raises:
        UsageError: there is no such file.
        HostError: it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}", _NOT_ONE) from error
    except OSError as error:
        raise HostError(f"{path} cannot be opened: {error.strerror}", "check its permissions") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise UsageError(f"{path} is no file", _NOT_ONE)
    return ArchiveFile(descriptor, status.st_size, path.name)


class ArchiveFiles:
    """The files of one artifact in an archive by their titles, and what else the folder had that they come from.

    Args:
        file: the archive.
        places: offset and size of each file by its title.
        digests: the sha256 of each, checked already.
        left_out: what was no regular file there, and folders that held nothing.
        prefix: "" or the folder, with a slash at its end, that these files lie below.
    """

    def __init__(
        self,
        file: ArchiveFile,
        places: Mapping[str, tuple[int, int]],
        digests: Mapping[str, Digest],
        left_out: LeftOut | None = None,
        prefix: str = "",
    ) -> None:
        self._file = file
        self._places, self._digests = places, digests
        links, others = (left_out.links, left_out.others) if left_out else ((), ())
        self._irregular = dict.fromkeys(links, "is a link, and links are not followed")
        self._irregular |= dict.fromkeys(others, "is no regular file")
        self._empty = left_out.empty if left_out else ()
        self._prefix = prefix
        self._titles = sorted(places)

    @property
    def name(self) -> str:
        """The last part of the root's path; the archive's own name at the top."""
        return self._prefix.rstrip("/").rpartition("/")[2] or self._file.name

    def read(self, path: str, *, max_bytes: int) -> Data:
        """The contents of a file, read when they are asked for, as long as the archive is open.

        Raises:
            EvidenceError: missing, no regular file, or larger than `max_bytes`.
        """
        shown = clean(f"{self.name}/{path}")
        title = self._prefix + path
        if title not in self._places:
            how = self._irregular.get(title) or ("is no regular file" if self.exists(path) else "is missing")
            raise EvidenceError(f"{shown} {how}", REMEDY)
        offset, size = self._places[title]
        if size > max_bytes:
            raise EvidenceError(f"{shown} has {size} bytes, at most {max_bytes} are read", REMEDY)
        return Part(self._file, offset, offset + size)

    def digest(self, path: str, data: Data) -> Digest:  # noqa: ARG002
        """That of its blob, which was checked when the archive was opened."""
        return self._digests[self._prefix + path]

    def walk(self, folder: str) -> Iterator[tuple[str, bool]]:
        """Every path below a folder, sorted, and whether it is a regular file; "" is the root itself.

        Raises:
            EvidenceError: there is no such folder, or it holds more than is read of a folder.
        """
        start = f"{self._prefix}{folder}/" if folder else self._prefix
        found = [(title.removeprefix(start), True) for title in self._below(start)]
        found += [(path.removeprefix(start), False) for path in self._irregular if path.startswith(start)]
        shown = folder.rpartition("/")[2]
        if not found and not any(f"{path}/".startswith(start) for path in self._empty):
            raise EvidenceError(f"{self.name}: there is no folder {shown}", REMEDY)
        if len(found) > MAX_ENTRIES or any(path.count("/") > MAX_DEPTH for path, _ in found):
            problem = f"{self.name}: {shown} holds more than {MAX_ENTRIES} files or {MAX_DEPTH} levels"
            raise EvidenceError(problem, REMEDY)
        yield from sorted(found)

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        title = self._prefix + path
        others = (*self._irregular, *self._empty)
        return (
            title in self._places
            or next(self._below(f"{title}/"), None) is not None
            or any(f"{other}/".startswith(f"{title}/") for other in others)
        )

    def below(self, folder: str) -> Files:
        """The files below a folder, which need not exist."""
        inside = ArchiveFiles.__new__(ArchiveFiles)
        inside.__dict__.update(self.__dict__)
        inside._prefix = f"{self._prefix}{folder}/"
        return inside

    def _below(self, start: str) -> Iterator[str]:
        for place in range(bisect_left(self._titles, start), len(self._titles)):
            if not self._titles[place].startswith(start):
                return
            yield self._titles[place]
