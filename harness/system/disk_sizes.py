"""How much disk something really gives back: blocks, no link followed, a hard link counted with its last name."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_BLOCK = 512  # the unit of st_blocks, whatever the file system's own is (stat(2))
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
        return sum(self._one(status) for status in walk(path))

    def _one(self, status: os.stat_result) -> int:
        if stat.S_ISDIR(status.st_mode) or status.st_nlink == 1:
            return status.st_blocks * _BLOCK
        key = (status.st_dev, status.st_ino)
        self._names_left[key] = self._names_left.get(key, status.st_nlink) - 1
        return status.st_blocks * _BLOCK if self._names_left[key] == 0 else 0


def walk(path: Path) -> Iterator[os.stat_result]:
    """The status of a path and of everything below it that can be looked at; links stand for themselves."""
    waiting = [path]
    while waiting:
        one = waiting.pop()
        try:
            status = one.lstat()
            names = sorted(os.listdir(one)) if stat.S_ISDIR(status.st_mode) else []  # noqa: PTH208
        except OSError:
            continue  # gone meanwhile, not ours to read, or a longer path than there can be
        yield status
        waiting += (one / name for name in names)


class Quota:
    """Looks now and then at how much some folders take on the disk, as often as costs little.

    Args:
        paths: files and folders that count, or links to them; they need not exist.
        limit_gib: how much they may take together.
    """

    def __init__(self, paths: Iterable[Path], limit_gib: float) -> None:
        self._paths, self._limit_gib = tuple(paths), limit_gib
        self._next_look = 0.0
        self.excess = ""

    def is_over(self, *, now: bool = False) -> bool:
        """Whether they take more than they may; then `excess` says so. `now`: look, however short ago the last was."""
        begin = time.monotonic()
        if not self.excess and (now or begin >= self._next_look):
            measure = Measure()
            taken = sum(measure.count(path.resolve()) for path in self._paths) / (1 << 30)
            if taken > self._limit_gib:
                self.excess = (
                    f"it wrote {taken:.3g} GiB, and output_gib is {self._limit_gib:g}: what it wrote was removed"
                )
            end = time.monotonic()
            self._next_look = end + max(_LOOK_EVERY_S, _LOOK_SHARE * (end - begin))
        return bool(self.excess)


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


def _open_up(folder: Path) -> None:
    """Make the folders of a tree writable for their owner: programs leave read-only ones behind."""
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        folder.chmod(0o700)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _open_up(Path(entry.path))
