"""The lint of a wheel lock: whether an image can be made of it, in one way only, before anything is fetched or built.

`lint_lock` looks at the lock alone; `unmet` holds it against what its wheels say they need, which shows a lock that was
edited by hand. Neither guesses: what cannot be told for the target is no finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from packaging.markers import InvalidMarker, Marker, UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from harness.documents.cuda import MIN_LINUX_DRIVER, cuda_major, cuda_parts, cuda_stack, runtime_cuda, torch_label_cuda
from harness.documents.lockfile import Lockfile, Pin
from harness.documents.platform import GLIBC_MINOR, IMAGE_TARGET, marker_environment, platforms

_OF_THE_KERNEL = ("platform_release", "platform_version")
_AGAIN = "compile the lock again: `harness lock`"
_MARKER_ERRORS = (UndefinedComparison, UndefinedEnvironmentName, InvalidVersion)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong with a lock; `where` names the lock and the distribution."""

    id: str
    where: str
    problem: str
    remedy: str


def lint_lock(lock: Lockfile, source: str) -> tuple[Finding, ...]:
    """What is wrong with an image's lock, in the order of its pins; nothing if an image can be built."""
    return (*_target(lock, source), *_wheels(lock, source), *_cuda(lock, source))


def unmet(
    requirements: Mapping[str, tuple[str, ...]], lock: Lockfile, source: str, python: str = ""
) -> tuple[Finding, ...]:
    """The requirements of locked distributions that the lock does not satisfy on the target.

    An extra counts where a locked distribution asks for it (`httpx[http2]`); extras that only the `.in` file asks for
    cannot be seen, so nothing is demanded for them.

    Args:
        requirements: `Requires-Dist` lines by distribution, those of the wheels that the lock names.
        lock: the lock.
        source: what to call it.
        python: the target's full Python version (`3.11.2`); without it, what depends on the last number is not judged.
    """
    pins = {pin.name: pin for pin in lock.pins if marker_holds(pin.marker, python=python) is not False}
    parsed, findings = _parsed(requirements, pins, source)
    extras = _extras(parsed, python)
    wanted = dict.fromkeys((name, _plain(requirement)) for name, requirement in _active(parsed, extras, python))
    found = [_judge(name, Requirement(text), pins, lock, source) for name, text in wanted]
    return (*findings, *(finding for finding in found if finding))


def _target(lock: Lockfile, source: str) -> Iterator[Finding]:
    if lock.pins and lock.target != IMAGE_TARGET:
        problem = f"its wheels are for {lock.target or 'no target that it names'}; images run {IMAGE_TARGET}"
        yield Finding(id="LOCK001", where=source, problem=problem, remedy=_AGAIN)


def _wheels(lock: Lockfile, source: str) -> Iterator[Finding]:
    for pin in lock.pins:
        where = f"{source}: {pin.name}"
        if pin.wheel is None:
            if marker_holds(pin.marker):
                problem = "no wheel of it is named, so there is not one candidate for the target"
                yield Finding(id="LOCK002", where=where, problem=problem, remedy=_AGAIN)
            continue
        try:
            name, version, _, tags = parse_wheel_filename(pin.wheel.filename)
            is_it = name == pin.name and version == Version(pin.version)
        except (InvalidWheelFilename, InvalidVersion) as error:
            yield Finding(id="LOCK003", where=where, problem=f"{pin.wheel.filename}: {error}", remedy=_AGAIN)
            continue
        if not is_it:
            problem = f"{pin.wheel.filename} is not {pin.name} {pin.version}"
            yield Finding(id="LOCK003", where=where, problem=problem, remedy=_AGAIN)
        if tags.isdisjoint(target_tags()):
            problem = f"{pin.wheel.filename} does not run on {IMAGE_TARGET} with glibc 2.{GLIBC_MINOR}"
            remedy = "lock a version that has a wheel for it, and compile the lock on such a system"
            yield Finding(id="LOCK004", where=where, problem=problem, remedy=remedy)


def _cuda(lock: Lockfile, source: str) -> Iterator[Finding]:
    majors: dict[int, list[str]] = {}
    for pin in cuda_parts(lock):
        if (major := cuda_major(pin)) is not None:
            majors.setdefault(major, []).append(f"{pin.name} {pin.version}")
    if len(majors) > 1:
        each = "; ".join(f"CUDA {major}: {', '.join(sorted(names))}" for major, names in sorted(majors.items()))
        problem = f"parts of several CUDAs stand together ({each})"
        remedy = "lock distributions that are built for one CUDA"
        yield Finding(id="CUDA001", where=source, problem=problem, remedy=remedy)
    yield from _torch(lock, source)
    stack = cuda_stack(lock)
    if stack and stack.cuda and not stack.min_driver:
        known = ", ".join(str(major) for major in sorted(MIN_LINUX_DRIVER))
        problem = f"which driver CUDA {stack.cuda} needs is not known here (known: {known})"
        remedy = "add it to MIN_LINUX_DRIVER from NVIDIA's release notes, or lock another CUDA"
        yield Finding(id="CUDA004", where=source, problem=problem, remedy=remedy)


def _torch(lock: Lockfile, source: str) -> Iterator[Finding]:
    """Whether torch's local label and NVIDIA's wheels tell of the same CUDA."""
    parts, runtime = cuda_parts(lock), runtime_cuda(lock)
    for pin in lock.pins:
        if pin.name != "torch" or not pin.local_label or not parts:
            continue
        labelled = torch_label_cuda(pin.version)
        if not labelled:
            problem = (
                f"torch {pin.version} is no CUDA build, but {len(parts)} parts of CUDA are locked ({parts[0].name})"
            )
            remedy = "lock torch's CUDA build, or leave NVIDIA's wheels out"
            yield Finding(id="CUDA002", where=source, problem=problem, remedy=remedy)
        elif runtime and runtime != labelled:
            problem = f"torch {pin.version} is built for CUDA {labelled}, the locked runtime is CUDA {runtime}"
            yield Finding(id="CUDA003", where=source, problem=problem, remedy="lock both for the same CUDA")


@cache
def target_tags() -> frozenset[Tag]:
    """Every tag of a wheel that runs on the target: CPython 3.11, x86_64, up to its glibc (PEP 425, 600)."""
    names = platforms()
    return frozenset((*cpython_tags((3, 11), ["cp311"], names), *compatible_tags((3, 11), "cp311", names)))


def marker_holds(text: str, extra: str = "", python: str = "") -> bool | None:
    """Whether an environment marker holds on the target, "" always; None where that cannot be told."""
    if not text:
        return True
    if any(name in text for name in _OF_THE_KERNEL):
        return None
    answers = set()
    for version in (python,) if python else ("3.11.0", "3.11.99"):
        environment = {**marker_environment(version), "extra": extra}
        try:
            answers.add(Marker(text).evaluate(environment))
        except (InvalidMarker, *_MARKER_ERRORS):
            return None
    return answers.pop() if len(answers) == 1 else None


def _parsed(
    requirements: Mapping[str, tuple[str, ...]], pins: Mapping[str, Pin], source: str
) -> tuple[list[tuple[str, Requirement]], list[Finding]]:
    parsed, findings = [], []
    for name in sorted(pins.keys() & requirements.keys()):
        for line in requirements[name]:
            try:
                parsed.append((name, Requirement(line)))
            except (InvalidRequirement, InvalidMarker) as error:
                problem = f"it needs {line[:200]!r}, which is no requirement: {error}"
                remedy = "lock another version of it"
                findings.append(Finding(id="LOCK007", where=f"{source}: {name}", problem=problem, remedy=remedy))
    return parsed, findings


def _extras(parsed: list[tuple[str, Requirement]], python: str) -> dict[str, set[str]]:
    """The extras of each distribution that others ask for; one extra may ask for the next."""
    extras: dict[str, set[str]] = {}
    while True:
        asked = {
            (canonicalize_name(requirement.name), extra)
            for _, requirement in _active(parsed, extras, python)
            for extra in requirement.extras
        }
        if all(extra in extras.get(name, ()) for name, extra in asked):
            return extras
        for name, extra in asked:
            extras.setdefault(name, set()).add(extra)


def _active(
    parsed: list[tuple[str, Requirement]], extras: Mapping[str, set[str]], python: str
) -> Iterator[tuple[str, Requirement]]:
    """The requirements that hold on the target with the extras that somebody asked for."""
    for name, requirement in parsed:
        marker = requirement.marker
        if marker is None or any(
            marker_holds(str(marker), extra, python) for extra in ("", *sorted(extras.get(name, ())))
        ):
            yield name, requirement


def _plain(requirement: Requirement) -> str:
    """A requirement whose marker has been judged, without it."""
    copy = Requirement(str(requirement))
    copy.marker = None
    return str(copy)


def _judge(name: str, requirement: Requirement, pins: Mapping[str, Pin], lock: Lockfile, source: str) -> Finding | None:
    where, wanted = f"{source}: {name}", canonicalize_name(requirement.name)
    pin = pins.get(wanted)
    if pin is None:
        kept_out = next((other.marker for other in lock.pins if other.name == wanted), "")
        why = f"is locked only for {kept_out}" if kept_out else "is not locked"
        return Finding(id="LOCK005", where=where, problem=f"it needs {requirement}, which {why}", remedy=_AGAIN)
    try:
        if requirement.specifier.contains(Version(pin.version), prereleases=True):
            return None
    except InvalidVersion:
        return None  # an arbitrary version (PEP 440, ===): lint_lock has said so
    problem = f"it needs {requirement}, but {pin.name} is locked at {pin.version}"
    return Finding(id="LOCK006", where=where, problem=problem, remedy=_AGAIN)
