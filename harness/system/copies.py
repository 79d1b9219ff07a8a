"""Copies of folders that keep holes, and are made only where there is room for them."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path

_BLOCK_BYTES = 512  # of `st_blocks`, whatever the file system's are: stat(2)
_CHUNK_BYTES = 8 << 20


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder with its links.

    Raises:
        OSError: there is not enough room for it, or it holds something that is no file, folder or link.
    """
    needed = sum(path.lstat().st_blocks * _BLOCK_BYTES for path in source.rglob("*"))
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free", str(target))
    shutil.copytree(source, target, symlinks=True, copy_function=copy_file)


def copy_file(source: str, target: str) -> str:
    """Copy a file, of a sparse one only what was written.

    Raises:
        OSError: it is no regular file: a device may have no end.
    """
    status = os.lstat(source)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no file, folder or link", source)
    if status.st_blocks * _BLOCK_BYTES >= status.st_size:
        return shutil.copy2(source, target)
    with open(source, "rb") as old, open(target, "wb") as new:  # noqa: PTH123  # copytree gives strings
        end, place = os.fstat(old.fileno()).st_size, 0
        while (place := _data_from(old.fileno(), place, end)) < end:
            hole = os.lseek(old.fileno(), place, os.SEEK_HOLE)
            while place < hole:
                place += os.pwrite(new.fileno(), os.pread(old.fileno(), min(_CHUNK_BYTES, hole - place), place), place)
        new.truncate(end)
    shutil.copystat(source, target)
    return target


def _data_from(descriptor: int, place: int, end: int) -> int:
    """Where the next data begin; `end` where none follow."""
    try:
        return os.lseek(descriptor, place, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return end
        raise
