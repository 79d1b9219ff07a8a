"""How much disk something really gives back: blocks, no link followed, a hard link counted with its last name."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_BLOCK = 512  # the unit of st_blocks, whatever the file system's own is (stat(2))


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
    try:
        status = path.lstat()
        names = sorted(os.listdir(path)) if stat.S_ISDIR(status.st_mode) else []  # noqa: PTH208
    except (FileNotFoundError, PermissionError):
        return
    yield status
    for name in names:
        yield from walk(path / name)


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
