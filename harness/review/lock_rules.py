"""The lint of a wheel lock: whether an image can be made of it, in one way only, before anything is fetched or built.

`lint_lock` looks at the lock alone; `unmet` holds it against what its wheels say they need, which shows a lock that was
edited by hand. Neither guesses: what cannot be told for the target is no finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial

from packaging.markers import InvalidMarker, Marker, UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from harness.documents.cuda import MIN_LINUX_DRIVER, cuda_major, cuda_parts, cuda_stack, runtime_cuda, torch_label_cuda
from harness.documents.lockfile import Lockfile, Pin
from harness.documents.platform import GLIBC_MINOR, IMAGE_PLATFORM, SERIES, Target, marker_environment, platforms

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


def on_base(lock: Lockfile, version: str, base: str, source: str) -> tuple[Finding, ...]:
    """Whether a lock's wheels are for the Python of a base.

    Args:
        lock: the lock.
        version: of the base's Python, `3.11.2` or `3.11`; "" where nobody can tell.
        base: what to call the base.
        source: what to call the lock.
    """
    wanted, found = lock.runs_on.python, ".".join(version.split(".")[:2])
    if not lock.pins or not found or found == wanted:
        return ()
    image = source.removesuffix(".lock")
    problem = f"its wheels are for Python {wanted}, and the base {base} has Python {found}"
    remedy = (
        f"write images/{image}/Dockerfile with a base that has it, as `FROM python:{wanted}-slim@sha256:...` does "
        f"(docs/guide/images.md), or `# python {found}` into lockfiles/{image}.in, and lock that again"
    )
    return (Finding(id="LOCK008", where=source, problem=problem, remedy=remedy),)


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
        python: the full version of a Python (`3.11.2`); unless it is of the target's series, what depends on the last
            number is not judged.
    """
    version = python if python.rpartition(".")[0] == lock.runs_on.python else ""
    holds = partial(marker_holds, target=lock.runs_on, version=version)
    pins = {pin.name: pin for pin in lock.pins if holds(pin.marker) is not False}
    parsed, findings = _parsed(requirements, pins, source)
    extras = _extras(parsed, holds)
    wanted = dict.fromkeys((name, _plain(requirement)) for name, requirement in _active(parsed, extras, holds))
    found = [_judge(name, Requirement(text), pins, lock, source) for name, text in wanted]
    return (*findings, *(finding for finding in found if finding))


def _target(lock: Lockfile, source: str) -> Iterator[Finding]:
    if lock.pins and (lock.target is None or not lock.target.is_of_images):
        run = f"CPython {SERIES[0]} to {SERIES[-1]} on {IMAGE_PLATFORM}"
        problem = f"its wheels are for {lock.target or 'no target that it names'}; images run {run}"
        yield Finding(id="LOCK001", where=source, problem=problem, remedy=_AGAIN)


def _wheels(lock: Lockfile, source: str) -> Iterator[Finding]:
    for pin in lock.pins:
        where = f"{source}: {pin.name}"
        if pin.wheel is None:
            if marker_holds(pin.marker, lock.runs_on):
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
        if tags.isdisjoint(target_tags(lock.runs_on)):
            problem = f"{pin.wheel.filename} does not run on {lock.runs_on} with glibc 2.{GLIBC_MINOR}"
            remedy = "lock a version that has a wheel for it"
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
def target_tags(target: Target) -> frozenset[Tag]:
    """Every tag of a wheel that runs on a target: its CPython, x86_64, up to the images' glibc (PEP 425, 600)."""
    names, abi = platforms(), target.abis[0]
    major, minor = (int(part) for part in target.python.split("."))
    return frozenset((*cpython_tags((major, minor), [abi], names), *compatible_tags((major, minor), abi, names)))


def marker_holds(text: str, target: Target, *, extra: str = "", version: str = "") -> bool | None:
    """Whether an environment marker holds on a target, "" always; None where that cannot be told.

    `version` is the full version of its Python (`3.11.2`), if that is known.
    """
    if not text:
        return True
    if any(name in text for name in _OF_THE_KERNEL):
        return None
    answers = set()
    for python in (version,) if version else (f"{target.python}.0", f"{target.python}.99"):
        environment = {**marker_environment(python), "extra": extra}
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


def _extras(parsed: list[tuple[str, Requirement]], holds: Callable[..., bool | None]) -> dict[str, set[str]]:
    """The extras of each distribution that others ask for; one extra may ask for the next."""
    extras: dict[str, set[str]] = {}
    while True:
        asked = {
            (canonicalize_name(requirement.name), extra)
            for _, requirement in _active(parsed, extras, holds)
            for extra in requirement.extras
        }
        if all(extra in extras.get(name, ()) for name, extra in asked):
            return extras
        for name, extra in asked:
            extras.setdefault(name, set()).add(extra)


def _active(
    parsed: list[tuple[str, Requirement]], extras: Mapping[str, set[str]], holds: Callable[..., bool | None]
) -> Iterator[tuple[str, Requirement]]:
    """The requirements that hold on the target with the extras that somebody asked for."""
    for name, requirement in parsed:
        marker = requirement.marker
        if marker is None or any(holds(str(marker), extra=extra) for extra in ("", *sorted(extras.get(name, ())))):
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
