"""How much disk something really gives back: blocks, no link followed, a hard link counted with its last name."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_BLOCK = 512  # the unit of st_blocks, whatever the file system's own is (stat(2))
_MAX_LEVELS = 64
_MAX_PATH_BYTES = 3000  # the kernel takes 4,096, and copies and archives lie elsewhere
_MAX_DELETED_LEVELS = 8
_REMOVED = "what it wrote was removed"
_LOOK_EVERY_S = 1.0
_LOOK_SHARE = 20  # of the time, looking takes one part at most


@dataclass(slots=True)
class Measure:
    """Adds up what would be freed if everything that was counted so far were removed."""

    _names_left: dict[tuple[int, int], int] = field(default_factory=dict)

    def count(self, path: Path) -> int:
        """The bytes that removing this file or folder frees, after all that was counted before.

        A file with several names is freed with the last of them; one that has a name elsewhere is not freed at all.
        """
        return sum(self.freed_with(status) for _, status in walk(path))

    def freed_with(self, status: os.stat_result) -> int:
        """The same of one file or folder without what is below it."""
        if stat.S_ISDIR(status.st_mode) or status.st_nlink == 1:
            return status.st_blocks * _BLOCK
        key = (status.st_dev, status.st_ino)
        self._names_left[key] = self._names_left.get(key, status.st_nlink) - 1
        return status.st_blocks * _BLOCK if self._names_left[key] == 0 else 0


def walk(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """A path and everything below it that can be looked at, each with its status; links stand for themselves."""
    waiting = [path]
    while waiting:
        one = waiting.pop()
        try:
            status = one.lstat()
            names = sorted(os.listdir(one)) if stat.S_ISDIR(status.st_mode) else []  # noqa: PTH208
        except OSError:
            continue  # gone meanwhile, not ours to read, or a longer path than there can be
        yield one, status
        waiting += (one / name for name in names)


class Quota:
    """Looks now and then at how much some folders take on the disk, and how deep they are, as often as costs little.

    Args:
        paths: files and folders that count, or links to them; they need not exist.
        limit_gib: how much they may take together.
    """

    def __init__(self, paths: Iterable[Path], limit_gib: float) -> None:
        self._paths, self._limit_gib = tuple(paths), limit_gib
        self._next_look = 0.0
        self.excess = ""

    def is_over(self, *, now: bool = False) -> bool:
        """Whether they are larger or deeper than they may be; then `excess` says so. `now`: look in any case."""
        begin = time.monotonic()
        if not self.excess and (now or begin >= self._next_look):
            self.excess = self._look()
            end = time.monotonic()
            self._next_look = end + max(_LOOK_EVERY_S, _LOOK_SHARE * (end - begin))
        return bool(self.excess)

    def _look(self) -> str:
        measure, num_bytes = Measure(), 0
        for root in (path.resolve() for path in self._paths):
            for path, status in walk(root):
                num_bytes += measure.freed_with(status)
                if len(path.parts) - len(root.parts) > _MAX_LEVELS or len(os.fsencode(path)) > _MAX_PATH_BYTES:
                    return f"it made paths of more than {_MAX_LEVELS} levels or {_MAX_PATH_BYTES} bytes: {_REMOVED}"
        taken = num_bytes / (1 << 30)
        if taken > self._limit_gib:
            return f"it wrote {taken:.3g} GiB, and output_gib is {self._limit_gib:g}: {_REMOVED}"
        return ""


def delete(path: Path) -> None:
    """Delete a file or a folder; of a link the link itself, never what it points at.

    Raises:
        OSError: something cannot be deleted.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    _open_up(path)
    shutil.rmtree(path)


def _open_up(top: Path) -> None:
    """Make the folders of a tree writable for their owner, for programs leave read-only ones behind; and shallow.

    What lies deep is moved up: a path has 4,096 bytes at most, and what deletes a tree calls itself at every level.
    """
    waiting = [(0, top)]
    while waiting:
        depth, folder = waiting.pop()
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            folder.chmod(0o700)
        if depth == _MAX_DELETED_LEVELS:
            depth, folder = 1, folder.rename(top / f".deep-{secrets.token_hex(8)}")
        with os.scandir(folder) as entries:
            waiting += [(depth + 1, Path(entry.path)) for entry in entries if entry.is_dir(follow_symlinks=False)]
