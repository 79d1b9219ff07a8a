"""Resolving: `lockfiles/<name>.in` into `lockfiles/<name>.lock`, for wheels with pip-compile and for bases with apt."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from harness.core.image import check_name
from harness.core.lockfile import parse_lock
from harness.errors import EnvironmentError_, UsageError
from harness.host.debian import write_base_lock
from harness.host.store import Progress, Store, disk_errors, write_atomically
from harness.host.wheels import IMAGE_TARGET, LABEL_INDEX, fetch_wheels, host_target, run_python

_LOCAL_PIN = re.compile(r"==[^\s+]+\+([a-z0-9]+)")


def write_lock(root: Path, name: str, store: Store, progress: Progress, *, upgrade: bool = False) -> Path:
    """Write the lock `name` anew: that of a base (`base-<suite>`) or of an image.

    Args:
        root: the project's root.
        name: the lock's name.
        store: the cache.
        progress: told what happens.
        upgrade: take newer versions of wheels than those that are locked already.

    Raises:
        UsageError: there is no such `.in` file, or it cannot be resolved.
        EnvironmentError_: pip, apt, an index or a mirror is missing, or this is not what images run.
    """
    if check_name(name).startswith("base-"):
        return write_base_lock(root, name, store, os.environ, progress)
    return _write_wheel_lock(root, name, store, progress, upgrade=upgrade)


def _write_wheel_lock(root: Path, name: str, store: Store, progress: Progress, *, upgrade: bool = False) -> Path:
    """Compile `lockfiles/<name>.in` into `lockfiles/<name>.lock` with pip-compile, and fetch what it locks.

    Versions that are locked already stay unless `upgrade`. The header says what has to be fetched and where
    builds with a local version come from; hosts of indexes and mirrors are never written.

    Raises:
        UsageError: there is no such file, or it cannot be resolved.
        EnvironmentError_: this is not the interpreter or the system that images have.
    """
    source = root / "lockfiles" / f"{name}.in"
    if not source.is_file():
        raise UsageError(f"{source} does not exist", "write the image's direct requirements into it")
    if host_target() != IMAGE_TARGET:
        problem = f"a lock must be compiled with what runs in the image: {IMAGE_TARGET}, glibc 2.36 or newer"
        raise EnvironmentError_(problem, "use Python 3.11 on a 64-bit Linux")
    target = source.with_suffix(".lock")
    with store.scratch("lock") as scratch, disk_errors("compiling a lock"):
        output = scratch / target.name
        if target.exists() and not upgrade:
            shutil.copyfile(target, output)
        progress(f"resolving {source.name}")
        labels = sorted(set(_LOCAL_PIN.findall(source.read_text(encoding="utf-8"))))
        _compile(source, output, labels, upgrade=upgrade)
        text = output.read_text(encoding="utf-8").replace(str(source), f"lockfiles/{source.name}")
    lock = parse_lock(_with_header(text, labels, ""), target.name)
    wheels = fetch_wheels(lock, store, progress)
    size = sum(wheel.stat().st_size for wheel in wheels)
    text = _with_header(text, labels, f"# wheels: {len(wheels)} files, {size} bytes\n")
    parse_lock(text, target.name)
    write_atomically(target, text)
    progress(f"{target.name}: {len(wheels)} wheels, {size / 1e6:.0f} MB")
    return target


def _compile(source: Path, output: Path, labels: list[str], *, upgrade: bool) -> None:
    options = ["--generate-hashes", "--allow-unsafe", "--strip-extras", "--quiet"]
    options += ["--no-emit-find-links", "--no-emit-index-url", "--no-emit-trusted-host"]
    options += ["--upgrade"] if upgrade else []
    command = ("-m", "piptools", "compile", *options, "--output-file", str(output), str(source))
    custom = {"CUSTOM_COMPILE_COMMAND": f"harness lock {source.stem}"}
    try:
        run_python(*command, environment=custom)
    except EnvironmentError_:
        if not labels:
            raise
        extra = [part for label in labels for part in ("--extra-index-url", f"{LABEL_INDEX}{label}")]
        run_python(*command[:3], *extra, *command[3:], environment=custom)


def _with_header(text: str, labels: list[str], sizes: str) -> str:
    """The lock's text under a header that does not depend on the machine."""
    lines = text.splitlines(keepends=True)
    body = next((index for index, line in enumerate(lines) if not line.startswith("#")), len(lines))
    comment = "".join(line for line in lines[:body] if not line.startswith(("# wheels: ", "# builds with +")))
    indexes = "".join(f"# builds with +{label} come from {LABEL_INDEX}{label}\n" for label in labels)
    return comment + indexes + sizes + "".join(lines[body:])
