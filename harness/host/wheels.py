"""Wheels: resolved into a lock, fetched by that lock, verified, and installed into an environment on the
host.

pip does the fetching, so a machine's own index, mirror, proxy and credentials are those that pip is
configured with. Builds with a local version (`torch==2.13.0+cpu`) are looked for there first; where that
has none, in PyTorch's own wheel index, whose last part is the label. Which of the two served a wheel cannot
matter: its hash is in the lock.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from harness.core.lockfile import Lockfile, Pin, digest_of, parse_lock, render_pins
from harness.errors import EnvironmentError_, UsageError
from harness.host.store import Progress, Store, disk_errors, file_digest

IMAGE_TARGET = "cp311-linux-x86_64"
LABEL_INDEX = "https://download.pytorch.org/whl/"
_GLIBC = range(36, 4, -1)  # of the base, bookworm's 2.36, down to the first manylinux
_COMPLETE = "complete"
STRICT = ("--require-hashes", "--no-deps", "--only-binary", ":all:")
_TIMEOUT_S = 3600


def fetch_wheels(
    lock: Lockfile, store: Store, progress: Progress, target: str = IMAGE_TARGET, *, verify: bool = True
) -> tuple[Path, ...]:
    """Have one wheel for every pin, each verified against the lock.

    Args:
        lock: the lock.
        store: where the wheels are kept, in a folder for each lock and target.
        progress: told what is fetched.
        target: `IMAGE_TARGET`, or `host_target()`.
        verify: hash the wheels again although they were verified when they were fetched.

    Returns:
        The wheels, sorted by name.

    Raises:
        EnvironmentError_: pip cannot get one of them.
        UsageError: a wheel is not one that the lock allows.
    """
    folder = _folder(lock, store, target)
    waiting = "waiting for another process that fetches wheels"
    with store.locked(f"wheels-{folder.name}", lambda: progress(waiting)), disk_errors("fetching wheels"):
        if not (folder / _COMPLETE).is_file():
            shutil.rmtree(folder, ignore_errors=True)
            with store.scratch("wheels") as scratch:
                _download(lock.pins, scratch, target, progress)
                check_wheels(lock.pins, scratch)
                (scratch / _COMPLETE).touch()
                _move(scratch, folder)
        elif verify:
            check_wheels(lock.pins, folder)
    return tuple(sorted(folder.glob("*.whl")))


def fetch_wheel(name: str, version: str, sha256: str, folder: Path) -> Path:
    """Download one wheel into an empty folder: the one with this digest, or else whichever pip chooses.

    The caller verifies it: a wheel with another digest is returned, so that the two can be named.

    Raises:
        EnvironmentError_: pip gets no wheel of that version.
    """
    requirements = folder / "requirements.txt"
    options = ("-q", "-d", str(folder), "--no-deps", "--only-binary", ":all:", *_target_options(IMAGE_TARGET))
    command = ("-m", "pip", "download", *options, "-r", str(requirements))
    requirements.write_text(f"{name}=={version} --hash={sha256}\n", encoding="utf-8")
    try:
        run_python(*command)
    except EnvironmentError_:
        requirements.write_text(f"{name}=={version}\n", encoding="utf-8")
        run_python(*command)
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise EnvironmentError_(f"pip gave {len(wheels)} wheels for {name} {version}", "pin a version that has a wheel")
    return wheels[0]


def have_wheels(lock: Lockfile, store: Store, target: str = IMAGE_TARGET) -> bool:
    """Whether a lock's wheels are all in the cache."""
    return (_folder(lock, store, target) / _COMPLETE).is_file()


def check_wheels(pins: Iterable[Pin], folder: Path) -> None:
    """Hold the wheels of a folder against the lock: one for each pin, none beside, each with a hash of its
    pin's.

    Raises:
        UsageError: naming the first that is not so.
    """
    wanted = {pin.name: pin for pin in pins}
    seen = set()
    for wheel in sorted(folder.glob("*.whl")):
        try:
            name, version, _, _ = parse_wheel_filename(wheel.name)
        except InvalidWheelFilename as error:
            raise UsageError(f"{wheel.name} is not the name of a wheel", "clear the cache") from error
        pin = wanted.get(canonicalize_name(name))
        if pin is None or version != Version(pin.version) or pin.name in seen:
            raise UsageError(f"{wheel.name} is not in the lock", "clear the cache, and compile the lock again")
        found = file_digest(wheel)
        if found not in pin.hashes:
            problem = f"{wheel.name}: its hash is not in the lock\n  found: {found}"
            raise UsageError(problem, "find out who changed it; do not add its hash before you know")
        seen.add(pin.name)
    missing = sorted(name for name, pin in wanted.items() if name not in seen and not pin.marker)
    if missing:
        raise UsageError(f"no wheel for {', '.join(missing)}", "compile the lock again")


def host_target() -> str:
    """The name of this interpreter's own target; the image's, where the image's wheels run here as well."""
    is_linux = sys.platform == "linux" and platform.machine() == "x86_64"
    libc, version = platform.libc_ver()
    glibc = tuple(int(part) for part in re.findall(r"\d+", version)[:2]) if libc == "glibc" else (0,)
    if is_linux and sys.version_info[:2] == (3, 11) and glibc >= (2, 36):
        return IMAGE_TARGET
    return f"cp{sys.version_info[0]}{sys.version_info[1]}-{sys.platform}-{platform.machine()}"


def host_venv(lock_path: Path, store: Store, progress: Progress) -> Path:
    """A virtual environment on this machine with exactly what a lock pins, made once.

    Returns:
        Its interpreter.

    Raises:
        UsageError: the lock is malformed.
        EnvironmentError_: a wheel cannot be had, or pip cannot install one here.
    """
    lock = read_lock(lock_path)
    target = host_target()
    version = "{}.{}.{}".format(*sys.version_info)
    folder = store.folder("venvs") / f"{lock.digest.removeprefix('sha256:')[:24]}-{version}-{target}"
    python = folder / "bin" / "python"
    if (folder / _COMPLETE).is_file():
        return python
    wheels = fetch_wheels(lock, store, progress, target)
    with store.locked(f"venv-{folder.name}", lambda: progress("waiting for another process that installs")):
        if (folder / _COMPLETE).is_file():
            return python
        progress(f"installing {len(wheels)} wheels into a virtual environment")
        with store.scratch("venv") as scratch, disk_errors("making a virtual environment"):
            shutil.rmtree(folder, ignore_errors=True)
            requirements = scratch / "requirements.txt"
            requirements.write_text(render_pins(lock.pins), encoding="utf-8")
            run_python("-m", "venv", "--without-pip", str(folder))
            source = wheels[0].parent if wheels else scratch
            options = ("--no-index", "--find-links", str(source), *STRICT, "-r", str(requirements))
            run_python(
                "-m", "pip", "--python", str(python), "install", "-q", "--no-cache-dir", "--no-compile", *options
            )
            with contextlib.suppress(EnvironmentError_):  # some packages hold templates that are no valid Python
                run_python("-m", "compileall", "-qq", "-j", "0", str(folder / "lib"))
            (folder / _COMPLETE).touch()
    return python


def read_lock(path: Path) -> Lockfile:
    """Read a wheel lock from a file.

    Raises:
        UsageError: it does not exist or is malformed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"the lock {path} cannot be read: {error}", "write it with `harness lock`") from error
    return parse_lock(text, path.name)


def _folder(lock: Lockfile, store: Store, target: str) -> Path:
    """The folder of a lock's wheels: keyed by what is pinned, whatever comments the lock has."""
    digest = digest_of(render_pins(lock.pins).encode())
    return store.folder("wheels") / f"{digest.removeprefix('sha256:')[:24]}-{target}"


def _download(pins: tuple[Pin, ...], folder: Path, target: str, progress: Progress) -> None:
    """Let pip download every pin's wheel; local builds apart, for they may need an index of their own."""
    groups: dict[str, list[Pin]] = {}
    for pin in pins:
        groups.setdefault(pin.local_label, []).append(pin)
    for label, group in sorted(groups.items()):
        names = ", ".join(pin.name for pin in group) if label else f"{len(group)} wheels"
        progress(f"fetching {names}")
        requirements = folder / "requirements.txt"
        requirements.write_text(render_pins(tuple(group)), encoding="utf-8")
        command = ("-m", "pip", "download", "-q", "-d", str(folder), *STRICT, *_target_options(target))
        command += ("-r", str(requirements))
        try:
            run_python(*command)
        except EnvironmentError_:
            if not label:
                raise
            progress(f"fetching {names} from {LABEL_INDEX}{label}")
            run_python(*command, "--index-url", f"{LABEL_INDEX}{label}")
        requirements.unlink()


def _target_options(target: str) -> tuple[str, ...]:
    """What to tell pip about the interpreter that will use the wheels; nothing for the one that runs."""
    if target != IMAGE_TARGET:
        return ()
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in _GLIBC]
    platforms += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]
    options = ["--implementation", "cp", "--python-version", "3.11"]
    for abi in ("cp311", "abi3", "none"):
        options += ["--abi", abi]
    for name in platforms:
        options += ["--platform", name]
    return tuple(options)


def _move(scratch: Path, folder: Path) -> None:
    """Rename a scratch folder's files into a folder that appears whole or not at all: the marker moves last."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(scratch.glob("*.whl")):
        path.replace(folder / path.name)
    (scratch / _COMPLETE).replace(folder / _COMPLETE)


def run_python(*arguments: str, environment: dict[str, str] | None = None) -> None:
    """Run the harness's own interpreter.

    Raises:
        EnvironmentError_: it failed; the last lines of its output are in the problem.
    """
    variables = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **(environment or {})}
    try:
        done = subprocess.run(
            (sys.executable, *arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
            env=variables,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise EnvironmentError_(f"{arguments[1]} took more than {_TIMEOUT_S} s", "check the network") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        problem = f"{' '.join(arguments[1:3])} failed: " + "\n  ".join(lines[-6:])
        raise EnvironmentError_(problem, "check pip's configuration (`pip config list`) and the network")
