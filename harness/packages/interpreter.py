"""The Python of the host runner: made from the lock, or given; and how it differs from the lock.

A given one is asked what it is and which distributions it has, in a process of its own that is bounded.

Nothing is imported but the standard library, torch least of all. The process gets the environment that the host runner
gives to a training: no PYTHONPATH, a home of its own, so that it sees the packages which a training would see.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from harness.documents.environment import Environment, Interpreter, canonical_packages, compare_with_lock
from harness.documents.platform import IMAGE_TARGET
from harness.errors import HostError, UsageError
from harness.packages.venv import host_venv
from harness.system.checkouts import read_lock
from harness.system.store import Progress, Store

TIMEOUT_S = 30
MAX_BYTES = 4 << 20
MIN_PYTHON = (3, 10)
_MARK = "repro-harness-interpreter:"
_MAX_PACKAGES = 20_000
# Runs in whatever Python is given: no syntax that 3.0 does not have, and no list of packages before 3.8.
_PROBE = (
    """
import os, platform, sys, json
names = []
if sys.version_info >= (3, 8):
    from importlib import metadata
    for one in metadata.distributions():
        name = one.metadata["Name"]
        if name and one.version:
            names.append([str(name), str(one.version)])
version = platform.python_version()
markers = {
    "implementation_name": sys.implementation.name,
    "implementation_version": ".".join(map(str, sys.implementation.version[:3])),
    "os_name": os.name, "platform_machine": platform.machine(), "platform_release": platform.release(),
    "platform_system": platform.system(), "platform_version": platform.version(), "python_full_version": version,
    "platform_python_implementation": platform.python_implementation(),
    "python_version": ".".join(version.split(".")[:2]), "sys_platform": sys.platform,
}
found = {"version": list(sys.version_info[:3]), "prefix": sys.prefix, "markers": markers, "packages": names}
sys.stdout.write("\\n%s" + json.dumps(found) + "\\n")
"""
    % _MARK
)
_REMEDY = "give the path of a Python, such as that of a virtual environment: .../bin/python"


def host_environment(lock_path: Path, given: Path | None, store: Store, progress: Progress) -> tuple[Path, Environment]:
    """The interpreter that runs trainings without a container, and how it differs from the image's lock.

    Args:
        lock_path: the image's lock.
        given: an interpreter that somebody gave; None for the virtual environment made from the lock.
        store: where that environment lies, or is made.
        progress: told what is fetched and installed.

    Raises:
        UsageError: the lock is malformed, or what is given is no Python that can be used.
        HostError: the environment cannot be made, or somebody changed the one that was made.
    """
    lock = read_lock(lock_path)
    # Not resolved: a virtual environment's python is a link, and what it leads to is another environment.
    python = host_venv(lock_path, store, progress) if given is None else given.absolute()
    interpreter = probe(python)
    difference = compare_with_lock(interpreter, lock, _series(lock.target or IMAGE_TARGET))
    if given is None and difference.has_packages:
        problem = f"the virtual environment made from {lock_path.name} was changed: {difference.summary()}"
        raise HostError(problem, f"delete {python.parent.parent}: the next certify makes it again")
    environment = Environment(
        interpreter=interpreter, difference=difference, lock=lock_path.name, is_given=given is not None
    )
    return python, environment


def _series(target: str) -> str:
    """The Python of a lock's target: `3.11` of `cp311-linux-x86_64`."""
    found = re.match(r"cp(\d)(\d+)", target)
    return f"{found[1]}.{found[2]}" if found else ""


def probe(python: Path, timeout_s: float = TIMEOUT_S) -> Interpreter:
    """What an interpreter is, and what it has.

    Raises:
        UsageError: it is no executable file, no Python, too old, does not answer in time, or answers garbage.
    """
    _check_file(python)
    text = _ask(python, timeout_s)
    rows = [line[len(_MARK) :] for line in text.splitlines() if line.startswith(_MARK)]
    try:
        found = json.loads(rows[-1]) if rows else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"--python {python}: it is no Python: it did not say what it is", _REMEDY)
    return _parse(found, python)


def _check_file(python: Path) -> None:
    if not python.exists():
        raise UsageError(f"--python {python}: there is no such file", _REMEDY)
    if not python.is_file():
        raise UsageError(f"--python {python}: it is a folder, not a program", _REMEDY)
    if not os.access(python, os.X_OK):
        raise UsageError(f"--python {python}: it cannot be executed", _REMEDY)


def _parse(found: dict[str, Any], python: Path) -> Interpreter:
    """The answer, checked: whoever wrote the interpreter wrote it."""
    version, markers, packages = found.get("version"), found.get("markers"), found.get("packages")
    if not (_is_version(version) and _is_texts(markers) and _is_pairs(packages)):
        raise UsageError(f"--python {python}: it answered something else than a Python does", _REMEDY)
    assert isinstance(version, list) and isinstance(markers, dict) and isinstance(packages, list)
    shown = ".".join(map(str, version))
    if tuple(version[:2]) < MIN_PYTHON:
        needed = ".".join(map(str, MIN_PYTHON))
        raise UsageError(f"--python {python}: Python {shown} is too old", f"the recorder needs {needed} or newer")
    return Interpreter(
        version=shown,
        implementation=markers.get("platform_python_implementation", "?"),
        platform=f"{markers.get('sys_platform', '?')}-{markers.get('platform_machine', '?')}",
        prefix=str(found.get("prefix")),
        markers=tuple(sorted(markers.items())),
        packages=canonical_packages([(name, version) for name, version in packages]),
    )


def _is_version(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(part) is int for part in value)


def _is_texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _is_pairs(value: object) -> bool:
    if not isinstance(value, list) or len(value) > _MAX_PACKAGES:
        return False
    return all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair) for pair in value
    )


def _ask(python: Path, timeout_s: float) -> str:
    """Run the probe: what it wrote to stdout, bounded in time and size, with all of its processes ended."""
    with tempfile.TemporaryDirectory(prefix="repro-harness-") as home:
        environment = {"PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin", "HOME": home, "LANG": "C.UTF-8"}
        try:
            process = subprocess.Popen(
                [str(python), "-c", _PROBE],
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            problem = f"--python {python}: it cannot be started: {error.strerror}"
            raise UsageError(problem, _REMEDY) from error
        try:
            assert process.stdout is not None
            data = _read(process.stdout, process, python, timeout_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
    return data.decode("utf-8", "replace")


def _read(stream: IO[bytes], process: subprocess.Popen[bytes], python: Path, timeout_s: float) -> bytes:
    data = b""
    end = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while time.monotonic() < end:
            if not selector.select(timeout=0.1):
                if process.poll() is not None:
                    return data
                continue
            piece = os.read(stream.fileno(), 1 << 16)
            if not piece:
                return data
            data += piece
            if len(data) > MAX_BYTES:
                raise UsageError(f"--python {python}: it is no Python: it wrote more than {MAX_BYTES} bytes", _REMEDY)
    raise UsageError(f"--python {python}: it did not answer within {timeout_s:g} s", _REMEDY)
