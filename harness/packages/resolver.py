"""Resolving: `lockfiles/<name>.in` into `lockfiles/<name>.lock`, for wheels with pip-compile and for bases with apt.

Resolving is frozen in time: only what an index had at a recorded moment is considered, so that the same `.in` file
gives the same lock later, and a package that is added next month is resolved as of the day of the rest.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from harness.documents.lockfile import LABEL_INDEX, Lockfile, Pin, Wheel, parse_lock, render_wheels
from harness.documents.names import check_image_name
from harness.documents.platform import SERIES, USUAL, Target, marker_environment, platforms
from harness.documents.requirements import exact_version
from harness.errors import HarnessError, UsageError
from harness.packages.debian import write_base_lock
from harness.packages.metadata import requirements_of
from harness.packages.pip import download, run_python
from harness.packages.wheels import fetch_wheels, unpacked_bytes
from harness.review.lock_rules import Finding, marker_holds, unmet
from harness.system.project import image_names
from harness.system.store import Progress, Store, disk_errors, file_digest, write_atomically

_HEADERS = ("# wheel", "# builds with +", "# resolved", "# target: ", "# installed: ")
_SAYS_PYTHON = re.compile(r"#\s*python\s*[:=]*\s*(\d[\d.]*)\s*", re.IGNORECASE)
_COMPILED_BY = re.compile(r"(?<=pip-compile with Python )3\.\d+")
_PIN = "name what is missing in the .in file, in the version that is needed"
_UNDATED = "does not provide upload-time"


def write_lock(root: Path, name: str, store: Store, progress: Progress, *, upgrade: bool = False) -> Path:
    """Write the lock `name` anew: that of a base (`base-<suite>`) or of wheels.

    `upgrade` resolves as of now instead of as of the date in the lock, and takes newer versions than are locked.

    Raises:
        UsageError: there is no such `.in` file, it cannot be resolved, or it pins a version that was yanked.
        HostError: pip, apt, an index or a mirror is missing.
    """
    if check_image_name(name).startswith("base-"):
        return write_base_lock(root, name, store, os.environ, progress)
    source = root / "lockfiles" / f"{name}.in"
    if not source.is_file():
        raise UsageError(f"{source} does not exist", "write the image's direct requirements into it")
    path, target = source.with_suffix(".lock"), target_of(source.read_text(encoding="utf-8"), source.name)
    before = parse_lock(path.read_text(encoding="utf-8"), path.name) if path.exists() else None
    is_image = name in image_names(root)
    with disk_errors("compiling a lock"):
        text, labels = _resolve(source, target, before, store, progress, upgrade=upgrade)
        lock = parse_lock(text, path.name)
        wheels = _choose(lock, target, before, store, progress) if is_image else {}
        text = _with_header(text, labels, target if is_image else None) + render_wheels(wheels)
        lock = parse_lock(text, path.name)
        if is_image:
            fetch_wheels(lock, store, progress)
            _refuse(unmet(requirements_of(lock, store), lock, path.name), target)
            text = f"# installed: {unpacked_bytes(lock, store)} bytes\n" + text
        write_atomically(path, text)
    progress(f"{path.name}: {len(lock.pins)} pins, {len(wheels)} wheels, {lock.wheels_bytes / 1e6:.0f} MB")
    return path


def target_of(text: str, source: str) -> Target:
    """What an `.in` file is resolved for: its line `# python 3.12` says it, else it is the usual target.

    Raises:
        UsageError: there is no such Python in images, or two lines name two.
    """
    lines = [line.strip() for line in text.splitlines()]
    named = sorted({found[1] for line in lines if (found := _SAYS_PYTHON.fullmatch(line))})
    if len(named) > 1:
        raise UsageError(f"{source} names Python {' and '.join(named)}", "keep one line `# python X.Y`")
    if named and named[0] not in SERIES:
        known = f"write `# python X.Y`, with X.Y from {SERIES[0]} to {SERIES[-1]}"
        raise UsageError(f"{source}: images have no Python {named[0]}", known)
    return Target(named[0]) if named else USUAL


def _refuse(findings: tuple[Finding, ...], target: Target) -> None:
    """Write no lock that an image could not be built from, whatever pip made of it here."""
    if findings:
        listed = "\n  ".join(f"{finding.where}: {finding.problem}" for finding in findings[:8])
        raise UsageError(f"what was resolved does not fit together on {target}:\n  {listed}", _PIN)


def _resolve(
    source: Path, target: Target, before: Lockfile | None, store: Store, progress: Progress, *, upgrade: bool
) -> tuple[str, list[str]]:
    """pip-compile's text under a line with its date, and the labels of local builds."""
    as_of = before.as_of if before and before.as_of and not upgrade else f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    with store.scratch("lock") as scratch:
        labelled = _labelled(source)
        (scratch / "labelled").mkdir()
        for requirement in labelled:
            progress(f"fetching {requirement}")
            download([str(requirement)], scratch / "labelled", target, _label(requirement))
        places = " ".join(filter(None, [os.environ.get("PIP_FIND_LINKS", ""), str(scratch / "labelled")]))
        environment = {"CUSTOM_COMPILE_COMMAND": f"harness lock {source.stem}"}
        environment |= {"PIP_FIND_LINKS": places} if labelled else {}
        output = scratch / f"{source.stem}.lock"
        if before and not upgrade:
            shutil.copyfile(source.with_suffix(".lock"), output)
        progress(f"resolving {source.name} as of {as_of}")
        try:
            _compile(source, output, target, environment, as_of, upgrade=upgrade)
            dated = f"# resolved as of {as_of}\n"
        except HarnessError as error:
            if _UNDATED not in error.problem:
                raise
            progress("warning: the package index tells no upload times, so the resolve cannot be dated")
            _compile(source, output, target, environment, "", upgrade=upgrade)
            dated = "# resolved without a date: the index tells no upload times\n"
        text = output.read_text(encoding="utf-8").replace(str(source), f"lockfiles/{source.name}")
        text = _COMPILED_BY.sub(target.python, text, count=1)
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith(_HEADERS)]
    return dated + "".join(lines), sorted({_label(requirement) for requirement in labelled})


def _compile(
    source: Path, output: Path, target: Target, environment: dict[str, str], as_of: str, *, upgrade: bool
) -> None:
    options = ["--generate-hashes", "--allow-unsafe", "--strip-extras", "--quiet"]
    options += ["--no-emit-find-links", "--no-emit-index-url", "--no-emit-trusted-host", "--no-emit-options"]
    options += ["--upgrade"] if upgrade else []
    options += ["--uploaded-prior-to", as_of] if as_of else []
    # No source distribution is built: that would run its code here, and images take wheels only.
    options += ["--pip-args", "--only-binary :all:"]
    seen = marker_environment(f"{target.python}.0")
    told = json.dumps({"abis": target.abis, "platforms": platforms(), "environment": seen})
    program = ("-P", str(Path(__file__).with_name("compile_for.py")), told)
    files = ("--output-file", str(output), str(source))
    run_python(*program, *options, *files, target=target, environment=environment)


def _labelled(source: Path) -> list[Requirement]:
    """The requirements that name a build with a local version: they may come from an index of their own."""
    found = []
    for line in source.read_text(encoding="utf-8").splitlines():
        try:
            requirement = Requirement(line.split(" #")[0].strip())
        except InvalidRequirement:  # a comment, an option, or what pip-compile will complain about
            continue
        if _label(requirement):
            found.append(requirement)
    return found


def _label(requirement: Requirement) -> str:
    return exact_version(requirement).partition("+")[2]


def _choose(
    lock: Lockfile, target: Target, before: Lockfile | None, store: Store, progress: Progress
) -> dict[str, Wheel]:
    """The target's wheel of every pin; those that were chosen before stay, the others are in the store then."""
    pins = {pin.name: pin for pin in lock.pins if marker_holds(pin.marker, target) is not False}
    known = {pin.name: pin for pin in before.pins} if before and before.runs_on == target else {}
    chosen: dict[str, Wheel] = {}
    for name, pin in pins.items():
        old = known.get(name)
        if old and old.wheel and old.version == pin.version and old.wheel.sha256 in pin.hashes:
            chosen[name] = old.wheel
    groups: dict[str, list[Pin]] = {}
    for name in sorted(pins.keys() - chosen.keys()):
        groups.setdefault(pins[name].local_label, []).append(pins[name])
    for label, group in sorted(groups.items()):
        progress(f"fetching {len(group)} wheels" if not label else f"fetching {', '.join(pin.name for pin in group)}")
        chosen |= _fetch(group, target, label, store)
    return chosen


def _fetch(pins: list[Pin], target: Target, label: str, store: Store) -> dict[str, Wheel]:
    found: dict[str, Wheel] = {}
    with store.scratch("wheels") as scratch:
        lines = [f"{pin.name}==={pin.version} " + " ".join(f"--hash={one}" for one in pin.hashes) for pin in pins]
        if yanked := download(lines, scratch, target, label):
            raise UsageError(yanked[0], "allow another version in the .in file; locks that have it still build")
        for path in sorted(scratch.glob("*.whl")):
            name = canonicalize_name(parse_wheel_filename(path.name)[0])
            found[name] = Wheel(filename=path.name, size_bytes=path.stat().st_size, sha256=file_digest(path))
            store.add(path, found[name].sha256, path.name)
    return found


def _with_header(text: str, labels: list[str], target: Target | None) -> str:
    """The lock's text under a header that does not depend on the machine."""
    indexes = "".join(f"# builds with +{label} come from {LABEL_INDEX}{label}\n" for label in labels)
    return (f"# target: {target}\n" if target else "") + indexes + text
