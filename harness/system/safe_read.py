"""Reads and lists what somebody else wrote: no link is followed, only regular files are opened, all is bounded.

Windows has neither O_NOFOLLOW nor opening relative to an open folder: there each part of a path is looked at before it
is opened, which holds unless somebody puts a link there at that very moment.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePath

from harness.errors import EvidenceError, HarnessError

MAX_ENTRIES = 200_000
MAX_DEPTH = 32
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_CHANGED = "let nothing write to it meanwhile"
REMEDY = "a pipeline writes regular files below its output folder, and the recorder below runs/"


def safe_read(root: Path, relative: str, *, max_bytes: int) -> OpenFile:
    """A regular file below `root`, opened for reading; no part of the path below `root` may be a link.

    Raises:
        EvidenceError: missing, a link, no regular file, outside of `root`, or too large.
    """
    shown = clean(f"{root.name}/{relative}")
    opened = OpenFile(_open_below(root, relative, shown), shown)
    if not opened.is_regular:
        raise EvidenceError(f"{shown} is no regular file", REMEDY)
    if len(opened) > max_bytes:
        raise EvidenceError(f"{shown} has {len(opened)} bytes, at most {max_bytes} are read", REMEDY)
    return opened


class OpenFile:
    """An open file, read at any place with pread; it is closed when nobody refers to it.

    It is not mapped into memory: the kernel ends a process (SIGBUS) that reads a mapped file which became shorter.

    Args:
        descriptor: of the file; it belongs to this value from now on.
        name: what messages call it.
        error: what is raised where it cannot be read.
    """

    def __init__(self, descriptor: int, name: str, error: type[HarnessError] = EvidenceError) -> None:
        self.descriptor, self.name, self._error = descriptor, name, error
        status = os.fstat(descriptor)
        self.is_regular = stat.S_ISREG(status.st_mode)
        self._size, self._written_at = status.st_size, status.st_mtime_ns

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: slice, /) -> bytes:
        begin, end, _ = place.indices(self._size)
        pieces = []
        while begin < end:
            try:
                piece = _read_at(self.descriptor, end - begin, begin)
            except OSError as error:
                raise self._error(f"{self.name} cannot be read: {error.strerror}", "check the disk") from error
            if not piece:
                raise self._error(f"{self.name} became shorter while it was read", _CHANGED)
            pieces.append(piece)
            begin += len(piece)
        status = os.fstat(self.descriptor)
        if (status.st_size, status.st_mtime_ns) != (self._size, self._written_at):
            raise self._error(f"{self.name} changed while it was read", _CHANGED)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def __bytes__(self) -> bytes:
        return self[:]

    def __del__(self) -> None:
        os.close(self.descriptor)


def _read_at(descriptor: int, size: int, place: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, place)
    os.lseek(descriptor, place, os.SEEK_SET)
    return os.read(descriptor, size)


def is_plain(path: str, kind: type[PurePath] = PurePath) -> bool:
    """Whether a path is relative, climbs nowhere, and is written in the one way in which a path is written here.

    `kind` is this system's: on Windows a backslash or a drive leads elsewhere.
    """
    parts = path.split("/")
    if "\0" in path or any(part in ("", ".", "..") for part in parts):
        return False
    found = kind(path)
    return list(found.parts) == parts and not found.drive


def _open_below(root: Path, relative: str, shown: str) -> int:
    """Open step by step, so that no part of the path can be a link, whatever replaces it meanwhile."""
    parts = relative.split("/")
    if not is_plain(relative):
        raise EvidenceError(f"{shown} leaves its folder", REMEDY)
    flags = READ | NO_LINK
    current = -1
    try:
        if os.open not in os.supports_dir_fd:
            return _open_as_it_is(root, parts)
        current = os.open(root, flags | os.O_DIRECTORY)
        for place, part in enumerate(parts):
            last = place == len(parts) - 1
            following = os.open(part, flags if last else flags | os.O_DIRECTORY, dir_fd=current)
            os.close(current)
            current = following
    except OSError as error:
        if current >= 0:
            os.close(current)
        raise EvidenceError(f"{shown} {_reason(error)}", REMEDY) from error
    return current


def _open_as_it_is(root: Path, parts: list[str]) -> int:
    path = root
    for part in ("", *parts):
        path = path / part
        if path.is_symlink():
            raise OSError(errno.ELOOP, "it is a link")
    return os.open(path, READ)


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "is missing"
    if error.errno in (errno.ELOOP, errno.EMLINK):
        return "is a link, and links are not followed"
    return f"cannot be opened: {error.strerror}"


def walk_output(root: Path, name: str) -> Iterator[tuple[str, bool]]:
    """Every path below `root` that is no folder, sorted, and whether it is a regular file; links are not entered."""
    found: list[tuple[str, bool]] = []
    folders = [("", 0)]
    count = 0
    if not stat.S_ISDIR(_mode(root)):
        raise EvidenceError(f"{name}: there is no folder {root.name}", REMEDY)
    while folders:
        relative, depth = folders.pop()
        try:
            with os.scandir(root / relative) as entries:
                for entry in entries:
                    count += 1
                    if count > MAX_ENTRIES or depth > MAX_DEPTH:
                        problem = f"{name}: {root.name} holds more than {MAX_ENTRIES} files or {MAX_DEPTH} levels"
                        raise EvidenceError(problem, REMEDY)
                    path = f"{relative}/{entry.name}" if relative else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        folders.append((path, depth + 1))
                    else:
                        found.append((path, entry.is_file(follow_symlinks=False)))
        except OSError as error:
            problem = f"{name}: {root.name}/{clean(relative)} cannot be listed: {error.strerror}"
            raise EvidenceError(problem, REMEDY) from error
    yield from sorted(found)


def clean(path: str) -> str:
    """A path that can be written as UTF-8, whatever bytes it is made of."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except OSError:
        return 0
