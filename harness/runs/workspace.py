"""What each training has of its own: its code, recorder, configuration and small inputs are copies that nobody shares.

Two trainings that are compared must not speak to each other, by a file that both can lock or watch, nor find the same
inodes and times; on the host, what one writes anywhere is kept `elsewhere`, for its own later runs alone. After each
run all is read again: a training that changed its code was not a training of that code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import random
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.runs.context import RunContext
from harness.system.store import disk_errors, file_digest

FOLDER = ".work"
ELSEWHERE = "elsewhere"
MAX_COPIED_BYTES = 64 << 20
_DAY_S = 86_400
_LOOK_EVERY_S = 0.02

State = tuple[int, ...]
"""Of a file: mode, size, time of the last write, inode and, where nobody else may touch the file, its last change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A training's own copies, to which `context` leads, and how every file looked before a run.

    Attributes:
        context: what the runs have in common, with the copies in the place of the originals.
        originals: the original of each copied file or folder.
        states: of every file below a copy, or below what is too large to be copied.
    """

    context: RunContext
    originals: Mapping[Path, Path]
    states: Mapping[Path, Mapping[str, State]] = field(repr=False)

    @property
    def has_own_inputs(self) -> bool:
        """Whether no other training can see the files that this one reads."""
        return set(self.states) == set(self.originals)

    def changed(self) -> tuple[str, ...]:
        """What a run changed of what it was given, in words."""
        return tuple(text for root in self.states for text in self._changed_below(root))

    def _changed_below(self, root: Path) -> Iterator[str]:
        before, now = self.states[root], _states(root, is_own=root in self.originals)
        for name in sorted(set(before) | set(now)):
            shown = f"{root.name}/{name}" if name else root.name
            if name not in before:
                yield f"{shown} was added"
            elif name not in now:
                yield f"{shown} was removed"
            elif before[name] != now[name] and not self._is_same(root, name):
                yield f"{shown} was changed"

    def _is_same(self, root: Path, name: str) -> bool:
        """Whether a copy that was touched has the contents of its original; of a shared file nobody can tell."""
        original = self.originals.get(root)
        if original is None:
            return False
        one, two = root / name, original / name
        if one.is_symlink() or two.is_symlink():
            return one.is_symlink() and two.is_symlink() and one.readlink() == two.readlink()
        return one.is_file() and file_digest(one) == file_digest(two)


@contextlib.contextmanager
def workspace(shared: RunContext, name: str) -> Iterator[Workspace]:
    """Copies of what a training is given, for as long as it takes.

    Args:
        shared: what all runs have in common.
        name: of the trajectory.

    Raises:
        HostError: the disk is full.
    """
    own = shared.folder / FOLDER / name
    try:
        yield _make(shared, own)
    finally:
        shutil.rmtree(own, ignore_errors=True)
        with contextlib.suppress(OSError):
            (shared.folder / FOLDER).rmdir()


def can_copy_inputs(shared: RunContext) -> bool:
    """Whether inputs are small enough for each training to have its own; else the straight one is alone with them."""
    paths = [*shared.inputs.values(), *(() if shared.prepared is None else (shared.prepared,))]
    return sum(_size(path) for path in paths) <= MAX_COPIED_BYTES


def _make(shared: RunContext, own: Path) -> Workspace:
    name = own.name
    given = {"code": shared.code, "recorder": shared.recorder, "config.json": shared.config}
    inputs = {f"inputs/{name}": path for name, path in shared.inputs.items()}
    large = inputs if shared.prepared is None else {**inputs, "prepared": shared.prepared}
    if can_copy_inputs(shared):
        given, large = {**given, **large}, {}
    rng = random.Random(name)
    with disk_errors(f"copying the code for {name}"):
        (own / "inputs").mkdir(parents=True)
        _wait_for_another_second(own.with_name("straight") / "code")
        for target, source in given.items():
            _copy(source, own / target, rng)
    copies = {own / target: source for target, source in given.items()}
    context = dataclasses.replace(
        shared,
        own=own,
        code=own / "code",
        recorder=own / "recorder",
        config=own / "config.json",
        inputs={name: large.get(f"inputs/{name}", own / "inputs" / name) for name in shared.inputs},
        prepared=None if shared.prepared is None else large.get("prepared", own / "prepared"),
    )
    states = {root: _states(root, is_own=True) for root in copies}
    return Workspace(
        context=context,
        originals=copies,
        states={**states, **{path: _states(path, is_own=False) for path in large.values()}},
    )


def _wait_for_another_second(straight: Path) -> None:
    """Nothing is copied in the second in which the straight training's code was: some seed with a time in seconds."""
    with contextlib.suppress(FileNotFoundError):
        while time.time() < math.floor(straight.stat().st_ctime) + 1:
            time.sleep(_LOOK_EVERY_S)


def _copy(source: Path, target: Path, rng: random.Random) -> None:
    """Copy a file or a folder; its files are made in another order, and were written at other times."""
    if not source.is_dir():
        shutil.copy(source, target)
        return
    found = sorted(source.rglob("*"))
    target.mkdir()
    folders = [path for path in found if path.is_dir() and not path.is_symlink()]
    for path in folders:
        (target / path.relative_to(source)).mkdir()
    files = [path for path in found if path not in set(folders) and "__pycache__" not in path.parts]
    rng.shuffle(files)
    earlier = rng.uniform(1, 9) * _DAY_S
    for place, path in enumerate(files):
        copy = target / path.relative_to(source)
        shutil.copy(path, copy, follow_symlinks=False)
        if not copy.is_symlink():
            written = time.time() - earlier + 0.013 * place
            os.utime(copy, (written, written))
    for path in reversed([source, *folders]):
        shutil.copymode(path, target / path.relative_to(source))


def _states(root: Path, *, is_own: bool) -> dict[str, State]:
    paths = [root] if not root.is_dir() else sorted(root.rglob("*"))
    found: dict[str, State] = {}
    for path in paths:
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) and "__pycache__" not in path.parts:
            state = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ino)
            name = "" if path == root else path.relative_to(root).as_posix()
            found[name] = (*state, status.st_ctime_ns) if is_own else state
    return found


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
