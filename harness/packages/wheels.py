"""Wheels: fetched by a lock into the store, each a blob under the sha256 that the lock names."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.documents.lockfile import Lockfile, Pin, Wheel
from harness.documents.platform import USUAL, Target
from harness.errors import HostError, UsageError
from harness.packages.pip import download
from harness.system.store import Progress, Store, disk_errors

_LARGE_BYTES = 48 << 20


def fetch_wheels(lock: Lockfile, store: Store, progress: Progress) -> tuple[Path, ...]:
    """Have every wheel that a lock names, verified; fetch those that are not there yet.

    Large ones are fetched one by one, so that a download that breaks loses no other.

    Returns:
        Their files in the order of `lock.wheels`; a file's name is its digest.

    Raises:
        UsageError: the lock does not name its wheels, or a source offers another file.
        HostError: no source has one of them.
    """
    unnamed = [pin.name for pin in lock.pins if not pin.wheel and not pin.marker]
    if unnamed:
        problem = f"the lock does not name a wheel of {unnamed[0]} ({len(unnamed)} such)"
        raise UsageError(problem, "compile it with `harness lock`, which writes the table of wheels")
    waiting = "waiting for another process that fetches wheels"
    with store.locked("wheels", lambda: progress(waiting)), disk_errors("fetching wheels"):
        found = {wheel.sha256: store.find(wheel.sha256) for wheel in lock.wheels}
        missing = [pin for pin in lock.pins if pin.wheel and not found[pin.wheel.sha256]]
        if missing:
            store.needs_network(f"wheel of {missing[0].name} {missing[0].version}", len(missing) - 1)
        for batch in _batches(missing):
            _fetch(batch, lock.runs_on, store, progress)
    return tuple(store.blob(wheel.sha256) for wheel in lock.wheels)


def fetch_wheel(name: str, version: str, sha256: str, folder: Path) -> Path:
    """Download one wheel into an empty folder: the one with this digest, or else whichever pip chooses.

    The caller verifies it: a wheel with another digest is returned, so that the two can be named.

    Raises:
        HostError: pip gets no wheel of that version.
    """
    try:
        download([f"{name}=={version} --hash={sha256}"], folder, USUAL)
    except (HostError, UsageError):
        download([f"{name}=={version}"], folder, USUAL)
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise HostError(f"pip downloaded {len(wheels)} wheels for {name} {version}", "pin a version that has a wheel")
    return wheels[0]


def absent_wheels(lock: Lockfile, store: Store) -> tuple[Wheel, ...]:
    return tuple(wheel for wheel in lock.wheels if not store.blob(wheel.sha256).is_file())


def link_wheels(lock: Lockfile, store: Store, folder: Path) -> None:
    """Lay a lock's wheels, which are in the store, into a folder under their own names."""
    for wheel in lock.wheels:
        (folder / wheel.filename).symlink_to(store.blob(wheel.sha256))


def _batches(pins: Sequence[Pin]) -> Iterator[list[Pin]]:
    """Large wheels and local builds alone, the small ones together."""
    small = [pin for pin in pins if not pin.local_label and pin.wheel and pin.wheel.size_bytes < _LARGE_BYTES]
    if small:
        yield small
    yield from ([pin] for pin in pins if pin not in small)


def _fetch(pins: list[Pin], target: Target, store: Store, progress: Progress) -> None:
    size = sum(pin.wheel.size_bytes for pin in pins if pin.wheel) / 1e6
    what = f"{pins[0].name} {pins[0].version}" if len(pins) == 1 else f"{len(pins)} wheels"
    progress(f"fetching {what} ({size:.0f} MB)")
    with store.scratch("wheels") as scratch:
        lines = [f"{pin.name}==={pin.version} --hash={pin.wheel.sha256}" for pin in pins if pin.wheel]
        for sentence in download(lines, scratch, target, pins[0].local_label):
            progress(f"warning: {sentence}")
        for pin in pins:
            if pin.wheel and (scratch / pin.wheel.filename).is_file():
                store.add(scratch / pin.wheel.filename, pin.wheel.sha256, pin.wheel.filename)
            elif pin.wheel:
                names = ", ".join(path.name for path in scratch.iterdir())
                problem = f"pip downloaded {names} instead of {pin.wheel.filename}"
                raise UsageError(problem[:600], "somebody edited the lock's table of wheels: compile the lock again")


def unpacked_bytes(lock: Lockfile, store: Store) -> int:
    """What a lock's wheels, which are in the store, take when they are installed and compiled to bytecode.

    Raises:
        UsageError: a wheel is no archive.
    """
    total = 0
    for wheel in lock.wheels:
        try:
            with zipfile.ZipFile(store.blob(wheel.sha256)) as archive:
                members = archive.infolist()
        except zipfile.BadZipFile as error:
            raise UsageError(f"{wheel.filename} is not a wheel: {error}", "choose another version") from error
        total += sum(member.file_size for member in members)
        total += sum(member.file_size for member in members if member.filename.endswith(".py"))
    return total
