"""The Python of the host runner: given, or that of a virtual environment made from an image's lock with its hashes."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.documents.environment import EnvironmentFacts
from harness.documents.lockfile import Lockfile, Pin, render_pins
from harness.documents.platform import Target
from harness.errors import HostError, UsageError
from harness.packages.interpreter import compare_with_lock, probe
from harness.packages.pip import STRICT, host_platform, run_pip
from harness.packages.wheels import fetch_wheels, link_wheels
from harness.system.project import read_lock
from harness.system.store import Progress, Store, disk_errors, file_digest

_COMPLETE = "complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPython:
    """The interpreter that runs trainings without a container, what it is, and a digest that names its environment."""

    path: Path
    facts: EnvironmentFacts
    identity: str


def host_python(lock_path: Path, given: Path | None, store: Store, progress: Progress) -> HostPython:
    """The interpreter that somebody gave, else that of the environment made from the lock, and how it differs from it.

    Raises:
        UsageError: the lock is malformed, or what is given is no Python that can be used.
        HostError: the environment cannot be made, or somebody changed the one that was made.
    """
    lock = read_lock(lock_path)
    # Not resolved: a virtual environment's python is a link, and what it leads to is another environment.
    python = host_venv(lock_path, store, progress) if given is None else given.absolute()
    interpreter = probe(python)
    difference = compare_with_lock(interpreter, lock)
    if given is None and difference.has_packages:
        problem = f"the virtual environment made from {lock_path.name} was changed: {difference.summary()}"
        raise HostError(problem, f"delete {python.parent.parent}: the next certify makes it again")
    facts = EnvironmentFacts(
        kind="lock" if given is None else "given",
        lock=lock_path.name,
        python=interpreter.version,
        implementation=interpreter.implementation,
        platform=interpreter.platform,
        num_packages=len(interpreter.packages),
        is_locked=difference.is_empty,
        counts=difference.counts(),
        difference=difference,
    )
    identity = file_digest(lock_path) if difference.is_empty else str(interpreter.digest)
    return HostPython(path=python, facts=facts, identity=identity)


@dataclass(frozen=True, slots=True)
class _Maker:
    """The interpreter that an environment is made with, and its full version, `3.12.1`."""

    path: Path
    version: str

    @property
    def target(self) -> Target:
        """What runs in it."""
        return Target(self.version.rpartition(".")[0], host_platform())


def _maker(series: str) -> _Maker:
    """The Python of a series that PATH has, `python3.12`; the harness's own where it is of that series, or none is."""
    own = _Maker(Path(sys.executable), "{}.{}.{}".format(*sys.version_info))
    named = shutil.which(f"python{series}") if own.target.python != series else None
    other = _Maker(Path(named), _version(named)) if named else own
    return other if other.target.python == series else own


@cache
def _version(python: str) -> str:
    try:
        return probe(Path(python)).version
    except UsageError:  # a name that leads to no Python, as one of pyenv's does
        return ""


def venv_folder(lock: Lockfile, store: Store) -> Path:
    """Where the environment of a lock lies: keyed by what is pinned, the interpreter and the platform."""
    maker = _maker(lock.runs_on.python)
    return store.folder("venvs") / f"{lock.pins_digest.removeprefix('sha256:')[:24]}-{maker.version}-{maker.target}"


def has_venv(lock: Lockfile, store: Store) -> bool:
    """Whether the environment of a lock was made."""
    return (venv_folder(lock, store) / _COMPLETE).is_file()


def host_venv(lock_path: Path, store: Store, progress: Progress) -> Path:
    """A virtual environment on this machine with exactly what a lock pins, made once.

    Where the image's own wheels run, they are installed; on another platform, or where this machine has no Python of
    the lock's series, pip chooses among the files whose hashes the lock holds.

    Returns:
        Its interpreter.

    Raises:
        UsageError: the lock is malformed.
        HostError: a wheel cannot be had, or pip cannot install one here.
    """
    lock = read_lock(lock_path)
    folder, maker = venv_folder(lock, store), _maker(lock.runs_on.python)
    python = folder / "bin" / "python"
    if has_venv(lock, store):
        return python
    with store.locked(f"venv-{folder.name}", lambda: progress("waiting for another process that installs")):
        if has_venv(lock, store):
            return python
        with store.scratch("venv") as scratch, disk_errors("making a virtual environment"):
            shutil.rmtree(folder, ignore_errors=True)
            _run(maker.path, "-m", "venv", "--without-pip", str(folder))
            if maker.target == lock.runs_on:
                fetch_wheels(lock, store, progress)
                link_wheels(lock, store, scratch)
                progress(f"installing {len(lock.wheels)} wheels into a virtual environment")
                _install(lock.pins, python, scratch, "--no-index", "--find-links", str(scratch), target=maker.target)
            else:
                store.needs_network(f"wheels for {maker.target}, which is not {lock.runs_on}")
                progress(f"installing {len(lock.pins)} distributions into a virtual environment")
                _install_from_index(lock, python, scratch, maker.target)
            with contextlib.suppress(HostError):  # some packages hold templates that are no valid Python
                _run(python, "-m", "compileall", "-qq", "-j", "0", str(folder / "lib"))
            (folder / _COMPLETE).touch()
    return python


def _run(python: Path, *arguments: str) -> None:
    done = subprocess.run([str(python), *arguments], capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        problem = f"{python} {' '.join(arguments[:2])} failed: {said[-1] if said else done.returncode}"
        raise HostError(problem, "install the whole of that Python, on Debian and Ubuntu its package python3-venv too")


def _install_from_index(lock: Lockfile, python: Path, scratch: Path, target: Target) -> None:
    groups: dict[str, list[Pin]] = {}
    for pin in lock.pins:
        groups.setdefault(pin.local_label, []).append(pin)
    for label, pins in sorted(groups.items()):
        _install(tuple(pins), python, scratch, target=target, label=label)


def _install(
    pins: tuple[Pin, ...], python: Path, scratch: Path, *sources: str, target: Target, label: str = ""
) -> None:
    requirements = scratch / "requirements.txt"
    requirements.write_text(render_pins(pins), encoding="utf-8")
    options = ("--no-cache-dir", "--no-compile", "--ignore-installed", *STRICT, "-r", str(requirements), *sources)
    run_pip(("--python", str(python), "install", "-q", *options), label, target)
