"""pip, run as a program of the harness's own interpreter, and what its failures mean.

A machine's own index, mirror, proxy and credentials are those that pip is configured with; nothing here names a host
but that of PyTorch's own wheel index, where builds with a local version (`torch==2.13.0+cpu`) come from when the
configured sources have none.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from harness.documents.lockfile import LABEL_INDEX
from harness.documents.platform import GLIBC_MINOR, Target, platforms
from harness.errors import HostError, UsageError

STRICT = ("--require-hashes", "--no-deps", "--only-binary", ":all:")
_TIMEOUT_S = 7200
_YANKED = re.compile(
    r"yanked version: '(\S+)' candidate \(version (\S+) at .*?\) Reason for being yanked: (.*?)(?= WARNING:|$)"
)
_GONE = re.compile(r"No matching distribution found for ([^\s(]+)")


def download(lines: Iterable[str], folder: Path, target: Target, label: str = "") -> tuple[str, ...]:
    """Download a target's wheels into a folder: by requirements, each with its hashes or all without.

    Returns:
        A sentence for each yanked version among them.

    Raises:
        UsageError: what a source offers has another hash than the lock.
        HostError: no source has one of them, or none can be reached.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    options = ("-q", "--no-cache-dir", "-d", str(folder), "--no-deps", "--only-binary", ":all:")
    command = ("download", *options, *_target_options(target), "-r", str(requirements))
    try:
        said = run_pip(command, label, target)
    finally:
        requirements.unlink()
    found = _YANKED.findall(re.sub(r"\s+", " ", said).strip())
    return tuple(f"{name} {version} is yanked: {reason}" for name, version, reason in found)


def run_pip(arguments: tuple[str, ...], label: str, target: Target) -> str:
    """Run pip with its own sources, and where these fail, for builds with a local version, with PyTorch's index.

    `target` is what wheels are wanted for.
    """
    try:
        return run_python("-m", "pip", *arguments, target=target)
    except HostError:
        if not label:
            raise
        return run_python("-m", "pip", *arguments, "--index-url", f"{LABEL_INDEX}{label}", target=target)


def run_python(*arguments: str, target: Target, environment: dict[str, str] | None = None) -> str:
    """Run the harness's own interpreter with pip or pip-compile; returns what it wrote to stderr.

    Raises:
        UsageError: pip found a hash that is not the one locked.
        HostError: it failed; the last lines of its output are in the problem.
    """
    variables = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **(environment or {})}
    try:
        done = subprocess.run(
            (sys.executable, *arguments),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_TIMEOUT_S,
            env=variables,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise HostError(f"{arguments[1]} took more than {_TIMEOUT_S} s", "check the network") from error
    if done.returncode:
        raise _failure(f"{Path(arguments[1]).stem} failed", done.stderr, target)
    return done.stderr


def host_platform() -> str:
    """This machine's platform; the images' only where wheels for their glibc run."""
    name = f"{sys.platform}-{platform.machine()}"
    libc, version = platform.libc_ver()
    glibc = tuple(int(part) for part in re.findall(r"\d+", version)[:2]) if libc == "glibc" else (0,)
    return name if sys.platform != "linux" or glibc >= (2, GLIBC_MINOR) else f"{name}-{libc}{version}"


def _target_options(target: Target) -> tuple[str, ...]:
    """What to tell pip about the interpreter that will use the wheels, whichever runs here."""
    options = ["--implementation", "cp", "--python-version", target.python]
    for abi in target.abis:
        options += ["--abi", abi]
    for name in platforms():
        options += ["--platform", name]
    return tuple(options)


def _failure(doing: str, said: str, target: Target) -> HostError | UsageError:
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith("WARNING")]
    tail = "\n  ".join(lines[-6:])
    if "DO NOT MATCH THE HASHES" in said:
        problem = f"a wheel is not the one that is locked:\n  {tail}"
        return UsageError(problem, "find out whether the lock or the index was changed; do not add its hash before")
    if "No space left on device" in said or "Disk quota exceeded" in said:
        return HostError(f"{doing}: the disk is full", "free some, or set HARNESS_CACHE to a larger disk")
    if gone := _GONE.search(said):
        problem = f"no source has a wheel of {gone[1]} for {target} (nothing is built from source):\n  {tail}"
        remedy = (
            "configure pip with an index that has it, put the wheel's blob into a folder that HARNESS_ARCHIVE names, "
            "or lock a version that has a wheel"
        )
        return HostError(problem, remedy)
    return HostError(f"{doing}: {tail}", "check pip's configuration (`pip config list`) and the network")
