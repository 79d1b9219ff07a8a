"""The bytes of an archive file: read at an offset, and hashed by several threads."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HostError, TamperedError, UsageError
from harness.images.oci_documents import Blob
from harness.system.deferred_signals import Pool, wait_for

_CHUNK = 1 << 20
_NUM_THREADS = 2
_NOT_ONE = "give a file that `harness archive` wrote"
_CHANGED = "let nothing write to the archive while it is read"


@dataclass(frozen=True, slots=True)
class Window:
    """An open archive file and its size when it was opened."""

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
        return b"".join(pieces)

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
        hasher, left = hashlib.sha256(), blob.size
        buffer = memoryview(bytearray(min(_CHUNK, left)))
        while left and not stop.is_set():
            try:
                count = os.preadv(self.descriptor, [buffer[:left]], offset)
            except OSError as error:
                stop.set()
                raise HostError(f"{self.name} cannot be read: {error.strerror}", "check the disk") from error
            if not count:
                break
            hasher.update(buffer[:count])
            offset, left = offset + count, left - count
        return "sha256:" + hasher.hexdigest()


def open_window(path: Path) -> Window:
    """Open an archive file; `os.close` its descriptor afterwards.

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
    return Window(descriptor, status.st_size, path.name)
