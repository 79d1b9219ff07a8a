"""Interpreters of this machine: what one is, which distributions it has, and how it differs from a lock.

It is asked in a process of its own that is bounded.

Nothing is imported but the standard library, torch least of all. The process gets the environment that the host runner
gives to a training: no PYTHONPATH, a home of its own, so that it sees the packages which a training would see.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import tempfile
from pathlib import Path

from packaging.markers import Marker
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import Field, ValidationError, field_validator

from harness.documents.digest import Digest, canonical_json, sha256
from harness.documents.document import Model
from harness.documents.environment import (
    AddedPackage,
    ChangedPackage,
    EnvironmentDifference,
    MissingPackage,
    PythonDifference,
)
from harness.documents.lockfile import Lockfile
from harness.errors import UsageError
from harness.system.held import temporary_folder

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
_IMPORT_TIMEOUT_S = 120
_IMPORT = """
import sys
try:
    import %(module)s
    why = ""
except BaseException as error:
    why = "%%s: %%s" %% (type(error).__name__, " ".join(str(error).split()))
sys.stdout.write("\\n%(mark)s" + why + "\\n")
"""
_REMEDY = "give the path of a Python, such as that of a virtual environment: .../bin/python"


class Interpreter(Model):
    """A Python as it describes itself.

    Attributes:
        version_info: `(3, 11, 7)`.
        prefix: of the environment (`sys.prefix`).
        markers: the values of packaging's environment markers there, by name.
        packages: distribution and version, by canonical name; where a name comes twice, the one that is imported.
    """

    version_info: tuple[int, int, int] = Field(alias="version")
    prefix: str
    markers: dict[str, str]
    packages: tuple[tuple[str, str], ...] = Field(max_length=_MAX_PACKAGES)

    @field_validator("packages")
    @classmethod
    def _canonical(cls, pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        # Source: https://packaging.python.org/en/latest/specifications/name-normalization/. The first counts.
        return tuple(sorted({canonicalize_name(name): version for name, version in reversed(pairs)}.items()))

    @property
    def version(self) -> str:
        """`3.11.7`."""
        return ".".join(map(str, self.version_info))

    @property
    def series(self) -> str:
        """`3.11`."""
        return ".".join(map(str, self.version_info[:2]))

    @property
    def implementation(self) -> str:
        """`CPython`; `?` where it does not say."""
        return self.markers.get("platform_python_implementation", "?")

    @property
    def platform(self) -> str:
        """`linux-x86_64`."""
        return f"{self.markers.get('sys_platform', '?')}-{self.markers.get('platform_machine', '?')}"

    @property
    def digest(self) -> Digest:
        """Of everything that is known of it."""
        return sha256(canonical_json([self.version, self.implementation, self.platform, self.prefix, *self.packages]))


def compare_with_lock(interpreter: Interpreter, lock: Lockfile) -> EnvironmentDifference:
    """How an interpreter differs from a lock; pins whose marker does not hold for it are not expected."""
    markers = {**interpreter.markers, "extra": ""}
    pins = [pin for pin in lock.pins if not pin.marker or Marker(pin.marker).evaluate(environment=markers)]
    locked = {pin.name: _version(pin.version) for pin in pins}
    found = {name: _version(version) for name, version in interpreter.packages}
    python = None
    if lock.runs_on.python != interpreter.series:
        python = PythonDifference(locked=lock.runs_on.python, found=interpreter.series)
    return EnvironmentDifference(
        python=python,
        missing=tuple(MissingPackage(name=name, locked=locked[name]) for name in sorted(locked.keys() - found.keys())),
        added=tuple(AddedPackage(name=name, found=found[name]) for name in sorted(found.keys() - locked.keys())),
        changed=tuple(
            ChangedPackage(name=name, locked=locked[name], found=found[name])
            for name in sorted(locked.keys() & found.keys())
            if locked[name] != found[name]
        ),
    )


def _version(text: str) -> str:
    """One spelling of a version (`1.0.0-RC1` is `1.0.0rc1`); what is none stays as it is."""
    try:
        return str(Version(text))
    except InvalidVersion:
        return text


def probe(python: Path, timeout_s: float = TIMEOUT_S) -> Interpreter:
    """What an interpreter is, and what it has.

    Raises:
        UsageError: it is no executable file, no Python, too old, does not answer in time, or answers garbage.
    """
    _check_file(python)
    rows = [line[len(_MARK) :] for line in _ask(python, timeout_s).splitlines() if line.startswith(_MARK)]
    try:
        found = json.loads(rows[-1]) if rows else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"--python {python}: it is not a Python: it did not say what it is", _REMEDY)
    try:
        interpreter = Interpreter.model_validate_json(rows[-1])
    except ValidationError as error:
        raise UsageError(f"--python {python}: its answer is not that of a Python", _REMEDY) from error
    if interpreter.version_info < MIN_PYTHON:
        needed = ".".join(map(str, MIN_PYTHON))
        problem = f"--python {python}: Python {interpreter.version} is too old"
        raise UsageError(problem, f"the recorder needs {needed} or newer")
    return interpreter


def import_problem(python: Path, module: str) -> str:
    """Why an interpreter cannot import a module, in one line; "" where it can.

    Raises:
        UsageError: it does not answer in time.
    """
    said = _ask(python, _IMPORT_TIMEOUT_S, _IMPORT % {"module": module, "mark": _MARK}).splitlines()
    rows = [line.removeprefix(_MARK) for line in said if line.startswith(_MARK)]
    return rows[-1].strip()[:300] if rows else "its process ended"


def _check_file(python: Path) -> None:
    if not python.exists():
        raise UsageError(f"--python {python}: there is no such file", _REMEDY)
    if not python.is_file():
        raise UsageError(f"--python {python}: it is a folder, not a program", _REMEDY)
    if not os.access(python, os.X_OK):
        raise UsageError(f"--python {python}: it cannot be executed", _REMEDY)


def _ask(python: Path, timeout_s: float, program: str = _PROBE) -> str:
    """Run a program: what it wrote to stdout, bounded in time and size, with all of its processes ended."""
    with temporary_folder() as home, tempfile.TemporaryFile() as output:
        environment = {"PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"}
        try:
            process = subprocess.Popen(
                [str(python), "-c", program],
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            problem = f"--python {python}: it cannot be started: {error.strerror}"
            raise UsageError(problem, _REMEDY) from error
        try:
            with contextlib.suppress(ProcessLookupError):  # it has ended already
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (MAX_BYTES, MAX_BYTES))
            process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise UsageError(f"--python {python}: it did not answer within {timeout_s:g} s", _REMEDY) from error
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        data = output.read(MAX_BYTES)
    if len(data) >= MAX_BYTES:
        raise UsageError(f"--python {python}: it is not a Python: it wrote more than {MAX_BYTES} bytes", _REMEDY)
    return data.decode("utf-8", "replace")
