"""Two locks of one image: read, their wheels fetched, and code in which a mix of both stands in place of the lock."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.documents.history import PinChange
from harness.documents.lockfile import Lockfile, parse_lock
from harness.errors import UsageError
from harness.history.lock_changes import Fit, mixed_lock, pin_changes
from harness.images.estimate import installed_bytes
from harness.images.recipe import read_recipe
from harness.packages.lock_export import python_version
from harness.packages.metadata import requirements_of
from harness.packages.wheels import absent_wheels, fetch_wheels
from harness.system.project import read_text
from harness.system.store import Progress, Store, disk_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class LockPair:
    """The lock that is good and the one that is bad, as text and parsed, and the pins that differ."""

    image: str
    good_text: str
    bad_text: str
    good: Lockfile
    bad: Lockfile
    changes: tuple[PinChange, ...]

    @property
    def names(self) -> frozenset[str]:
        """Of the distributions that are not pinned alike."""
        return frozenset(change.name for change in self.changes)

    def text(self, names: Iterable[str]) -> str:
        """The lock with the bad side's pins for some names; the two ends are the files themselves, byte for byte."""
        wanted = frozenset(names)
        if not wanted:
            return self.good_text
        return self.bad_text if wanted == self.names else mixed_lock(self.good, self.bad, wanted)


def read_pair(good: Path, bad: Path, image: str) -> LockPair:
    """Read two locks.

    Raises:
        UsageError: one is missing or malformed, they are for two Pythons, or they pin the same.
    """
    texts = [read_text(path, "give two lockfiles, as `harness lock` writes them") for path in (good, bad)]
    one, two = (parse_lock(text, path.name) for text, path in zip(texts, (good, bad), strict=True))
    if one.runs_on != two.runs_on:
        problem = f"{good.name} is for {one.runs_on} and {bad.name} for {two.runs_on}: their wheels cannot be mixed"
        raise UsageError(problem, "give two locks for one Python")
    changes = pin_changes(one, two)
    if not changes:
        raise UsageError(f"{good.name} and {bad.name} pin the same", "give two locks that differ in a pin")
    return LockPair(image=image, good_text=texts[0], bad_text=texts[1], good=one, bad=two, changes=changes)


def read_fit(pair: LockPair, code: Path, store: Store, progress: Progress) -> Fit:
    """What the wheels of both locks need; those that are not in the cache are fetched.

    Raises:
        UsageError: a lock does not name its wheels, or a wheel is torn.
        HostError: a wheel cannot be had.
    """
    needs = []
    for lock in (pair.good, pair.bad):
        fetch_wheels(lock, store, progress)
        needs.append(requirements_of(lock, store))
    return Fit(pair.good, pair.bad, needs[0], needs[1], python_version(read_recipe(code, pair.image).base_lock))


def cost(pair: LockPair, code: Path, store: Store) -> tuple[int, int]:
    """What is to be fetched, and what one image or environment of these locks takes; both in bytes, about."""
    missing = {wheel.sha256: wheel.size_bytes for lock in (pair.good, pair.bad) for wheel in absent_wheels(lock, store)}
    return sum(missing.values()), installed_bytes(read_recipe(code, pair.image))


def write_mix(pair: LockPair, names: Iterable[str], source: Path, code: Path) -> None:
    """A copy of some code in which the image's lock is a mix.

    Raises:
        HostError: the disk is full.
    """
    with disk_errors("copying the code"):
        shutil.copytree(source, code, symlinks=True)
        (code / "lockfiles" / f"{pair.image}.lock").write_text(pair.text(names), encoding="utf-8")
