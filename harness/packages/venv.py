"""Virtual environments on this machine, made from an image's lock with the hashes it holds."""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path

from harness.documents.lockfile import Lockfile, Pin, render_pins
from harness.documents.platform import IMAGE_TARGET
from harness.errors import HostError
from harness.packages.pip import STRICT, host_target, run_pip, run_python
from harness.packages.wheels import fetch_wheels, link_wheels
from harness.system.project import read_lock
from harness.system.store import Progress, Store, disk_errors

_COMPLETE = "complete"


def venv_folder(lock: Lockfile, store: Store) -> Path:
    """Where the environment of a lock lies: keyed by what is pinned, this interpreter and the platform."""
    version = "{}.{}.{}".format(*sys.version_info)
    return store.folder("venvs") / f"{lock.pins_digest.removeprefix('sha256:')[:24]}-{version}-{host_target()}"


def has_venv(lock: Lockfile, store: Store) -> bool:
    """Whether the environment of a lock was made."""
    return (venv_folder(lock, store) / _COMPLETE).is_file()


def host_venv(lock_path: Path, store: Store, progress: Progress) -> Path:
    """A virtual environment on this machine with exactly what a lock pins, made once.

    Where the image's own wheels run, they are installed; on another interpreter or platform pip chooses among the
    files whose hashes the lock holds.

    Returns:
        Its interpreter.

    Raises:
        UsageError: the lock is malformed.
        HostError: a wheel cannot be had, or pip cannot install one here.
    """
    lock = read_lock(lock_path)
    folder = venv_folder(lock, store)
    python = folder / "bin" / "python"
    if has_venv(lock, store):
        return python
    with store.locked(f"venv-{folder.name}", lambda: progress("waiting for another process that installs")):
        if has_venv(lock, store):
            return python
        with store.scratch("venv") as scratch, disk_errors("making a virtual environment"):
            shutil.rmtree(folder, ignore_errors=True)
            run_python("-m", "venv", "--without-pip", str(folder))
            if host_target() == IMAGE_TARGET:
                fetch_wheels(lock, store, progress)
                link_wheels(lock, store, scratch)
                progress(f"installing {len(lock.wheels)} wheels into a virtual environment")
                _install(lock.pins, python, scratch, "--no-index", "--find-links", str(scratch))
            else:
                store.needs_network(f"wheels for {host_target()}, which is not {IMAGE_TARGET}")
                progress(f"installing {len(lock.pins)} distributions into a virtual environment")
                _install_from_index(lock, python, scratch)
            with contextlib.suppress(HostError):  # some packages hold templates that are no valid Python
                run_python("-m", "compileall", "-qq", "-j", "0", str(folder / "lib"))
            (folder / _COMPLETE).touch()
    return python


def _install_from_index(lock: Lockfile, python: Path, scratch: Path) -> None:
    groups: dict[str, list[Pin]] = {}
    for pin in lock.pins:
        groups.setdefault(pin.local_label, []).append(pin)
    for label, pins in sorted(groups.items()):
        _install(tuple(pins), python, scratch, label=label)


def _install(pins: tuple[Pin, ...], python: Path, scratch: Path, *sources: str, label: str = "") -> None:
    requirements = scratch / "requirements.txt"
    requirements.write_text(render_pins(pins), encoding="utf-8")
    options = ("--no-cache-dir", "--no-compile", "--ignore-installed", *STRICT, "-r", str(requirements), *sources)
    run_pip(("--python", str(python), "install", "-q", *options), label)
