"""What a process holds for as long as it lives: lock files, which the kernel frees however a process ends.

A temporary folder has one in it, so that what a killed process left is told from what a living one uses, by whoever
makes the next one. On Windows, where no training runs, nothing is locked, and nothing counts as left.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Literal

LOCK = ".repro-harness.lock"
PREFIX = "rh-"  # of what is made in the machine's folder for temporary files
_UNLOCKED_S = 3600
"""How old a folder without a lock file is, in seconds, before it counts as left where all folders are ours: one that is
being made, or one whose removal was cut off."""


def lock(stream: IO[str], kind: Literal["alone", "shared", "free"], *, is_patient: bool = True) -> None:
    """Lock or unlock an open file.

    Raises:
        BlockingIOError: somebody else has the lock, and nobody is to wait for it.
    """
    try:
        import fcntl
    except ImportError:
        return
    operation = {"alone": fcntl.LOCK_EX, "shared": fcntl.LOCK_SH, "free": fcntl.LOCK_UN}[kind]
    fcntl.flock(stream, operation if is_patient else operation | fcntl.LOCK_NB)


@contextlib.contextmanager
def locked(
    path: Path, waiting: Callable[[], None] = lambda: None, *, kind: Literal["alone", "shared"] = "alone"
) -> Iterator[None]:
    """Hold a lock file, made if it is not there, and left there; `waiting` is called when somebody else has it."""
    with path.open("a") as stream:
        try:
            lock(stream, kind, is_patient=False)
        except BlockingIOError:
            waiting()
            lock(stream, kind)
        try:
            yield
        finally:
            lock(stream, "free")  # closing alone leaves it to a child that was forked meanwhile


@contextlib.contextmanager
def held(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock file of one's own, and remove it at the end."""
    with locked(path, waiting):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def is_free(path: Path) -> bool:
    """Whether a lock file is there, and nobody holds it; False where that cannot be told."""
    if os.name == "nt":
        return False
    try:
        with path.open() as stream:
            lock(stream, "shared", is_patient=False)
            return True
    except OSError:
        return False


def is_held(path: Path) -> bool:
    """Whether a lock file is there, and somebody holds it or may hold it."""
    return path.exists() and not is_free(path)


@contextlib.contextmanager
def temporary_folder(prefix: str = PREFIX, parent: Path | None = None, name: str | None = None) -> Iterator[Path]:
    """An empty folder of one's own, removed at the end; those that killed processes left beside it go first.

    Args:
        prefix: what its name begins with, and the names of those that go.
        parent: where it lies; None for the machine's folder for temporary files.
        name: the rest of its name, if it is free; else there is one that nobody has.
    """
    above = Path(tempfile.gettempdir()) if parent is None else parent
    for left in left_folders(above, prefix):
        shutil.rmtree(left, ignore_errors=True)
    path = above / f"{prefix}{name}"
    try:
        if name is None:
            raise FileExistsError
        path.mkdir(mode=0o700)
    except FileExistsError:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=above))
    try:
        made = path / f"{LOCK}.made"
        with locked(made):
            made.rename(path / LOCK)  # whoever sees it sees it locked
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def left_folders(parent: Path, prefix: str = "") -> list[Path]:
    """The temporary folders of this user that nobody holds any more, sorted.

    Where names begin with a prefix, others may have named folders like it: what has no lock file of ours stays.
    """
    return [path for path in sorted(parent.glob(f"{prefix}*")) if _is_left(path, is_ours=not prefix)]


def _is_left(path: Path, *, is_ours: bool) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    if path.is_symlink() or not path.is_dir() or (os.name != "nt" and status.st_uid != os.geteuid()):
        return False
    if (path / LOCK).exists():
        return is_free(path / LOCK)
    return is_ours and time.time() - status.st_mtime > _UNLOCKED_S
