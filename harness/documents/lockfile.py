"""Lockfiles: what was resolved, read into frozen values.

Two kinds stand in `lockfiles/`. `<image>.lock` is pip-compile's output, each distribution pinned and hashed, so that
pip installs from it on any platform; below it a table names the one wheel of each that images take. `base-<suite>.lock`
is the list of Debian packages that an image's root file system is unpacked from, one line each. A lock is read
strictly: what is not pinned and hashed is an error that names the line, because an image is a function of its locks.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from harness.documents.platform import USUAL, Target, parse_target
from harness.documents.requirements import exact_version, logical_lines, without_hashes
from harness.errors import UsageError

LABEL_INDEX = "https://download.pytorch.org/whl/"
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_WHEEL_LINE = re.compile(r"^# wheel (\S+) ([A-Za-z0-9_.+!-]+\.whl) ([1-9][0-9]{0,11}) (sha256:[0-9a-f]{64})$")
_AS_OF = re.compile(r"^# resolved as of (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)$", re.MULTILINE)
_INSTALLED = re.compile(r"^# installed: (\d{1,15}) bytes$", re.MULTILINE)
_TARGET = re.compile(r"^# target: (\S+)$", re.MULTILINE)
_DEBIAN_FIELD = {
    "name": re.compile(r"[a-z0-9][a-z0-9+.-]+"),
    "version": re.compile(r"[A-Za-z0-9.+:~-]+"),
    "architecture": re.compile(r"amd64|all"),
    "size": re.compile(r"[1-9][0-9]{0,11}"),
    "sha256": _SHA256,
    "pool path": re.compile(r"pool/(?!.*\.\.)[A-Za-z0-9.+:~_/%-]+\.deb"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """The one wheel of a distribution that images take; `sha256` is `sha256:<hex>`."""

    filename: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One locked distribution. `hashes` are `sha256:<hex>`, sorted: those of its files for every platform.

    `wheel` is the file that the lock's target takes, None where the lock does not say.
    """

    name: str
    version: str
    hashes: tuple[str, ...]
    marker: str = ""
    wheel: Wheel | None = None

    @property
    def local_label(self) -> str:
        """The local version label (`cpu` of `2.13.0+cpu`), or "": such builds come from an index of their own."""
        return self.version.partition("+")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lockfile:
    """A wheel lock.

    `digest` is that of the file. `target` is what the wheels are for, None in a lock that names no wheels, and `as_of`
    the UTC time (ISO 8601) that the resolver saw the index at, empty where it could not tell.
    `installed_bytes` is about what the wheels take when installed and compiled, 0 where the lock does not say.
    """

    pins: tuple[Pin, ...]
    digest: str
    target: Target | None = None
    as_of: str = ""
    installed_bytes: int = 0

    @property
    def runs_on(self) -> Target:
        """Its target; the usual one where it names none."""
        return self.target or USUAL

    @property
    def pins_digest(self) -> str:
        """The digest of what is pinned, whatever comments the file has."""
        return digest_of(render_pins(self.pins).encode())

    @property
    def wheels(self) -> tuple[Wheel, ...]:
        """The target's wheels, in the order of the pins."""
        return tuple(pin.wheel for pin in self.pins if pin.wheel)

    @property
    def wheels_bytes(self) -> int:
        """What has to be fetched when nothing is cached."""
        return sum(wheel.size_bytes for wheel in self.wheels)


@dataclass(frozen=True, slots=True, kw_only=True)
class BasePackage:
    """One Debian package of a base; `pool_path` is relative to a mirror, whichever that is."""

    name: str
    version: str
    architecture: str
    size_bytes: int
    sha256: str
    pool_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseLock:
    """The packages of a base system, sorted by name."""

    packages: tuple[BasePackage, ...]
    digest: str

    @property
    def size_bytes(self) -> int:
        """What has to be fetched when nothing is cached."""
        return sum(package.size_bytes for package in self.packages)


def parse_lock(text: str, source: str) -> Lockfile:
    """Read a wheel lock; `source` names it in errors.

    Raises:
        UsageError: a line is not a requirement, is not pinned with `==`, has no sha256, or a name comes twice; or the
            table of wheels names a distribution or a hash that is not locked, or its target is none.
    """
    wheels = _parse_wheels(text, source)
    pins: dict[str, Pin] = {}
    for number, line in logical_lines(text):
        pin = _parse_pin(line, f"{source}, line {number}")
        if pin.name in pins:
            raise UsageError(f"{source}, line {number}: {pin.name} is locked twice", "compile the lock again")
        pins[pin.name] = _with_wheel(pin, wheels.pop(pin.name, None), source)
    for name in sorted(wheels):
        raise UsageError(f"{source}: a wheel of {name} is named, but {name} is not locked", "compile the lock again")
    as_of, named, installed = (pattern.search(text) for pattern in (_AS_OF, _TARGET, _INSTALLED))
    if named and not parse_target(named[1]):
        raise UsageError(f"{source}: {named[1]!r} is no target, which {str(USUAL)!r} is", "compile the lock again")
    return Lockfile(
        pins=tuple(pins[name] for name in sorted(pins)),
        digest=digest_of(text.encode()),
        target=parse_target(named[1]) if named else None,
        as_of=as_of[1] if as_of else "",
        installed_bytes=int(installed[1]) if installed else 0,
    )


def render_wheels(wheels: Mapping[str, Wheel]) -> str:
    """The table of wheels that stands below the pins, by distribution."""
    lines = [f"# wheel {name} {one.filename} {one.size_bytes} {one.sha256}\n" for name, one in sorted(wheels.items())]
    return "".join(lines)


def render_pins(pins: tuple[Pin, ...]) -> str:
    """Requirements for pip, one line each, with every hash."""
    lines = []
    for pin in pins:
        marker = f" ; {pin.marker}" if pin.marker else ""
        lines.append(f"{pin.name}=={pin.version}{marker} " + " ".join(f"--hash={value}" for value in pin.hashes))
    return "".join(line + "\n" for line in lines)


def parse_base_lock(text: str, source: str) -> BaseLock:
    """Read a base lock: `name version architecture size sha256 pool-path` on each line.

    Raises:
        UsageError: naming the line and the field that is malformed.
    """
    packages: dict[str, BasePackage] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        where = f"{source}, line {number}"
        package = _parse_package(line.split(), where)
        if package.name in packages:
            raise UsageError(f"{where}: {package.name} is locked twice", "remove one of the two lines")
        packages[package.name] = package
    if not packages:
        raise UsageError(f"{source}: no package is locked", "write it with `harness lock`")
    return BaseLock(packages=tuple(packages[name] for name in sorted(packages)), digest=digest_of(text.encode()))


def render_base_lock(packages: tuple[BasePackage, ...], header: str) -> str:
    """The text of a base lock; `header` is its comment, without the leading `#`."""
    lines = [f"# {line}".rstrip() for line in header.splitlines()]
    for item in sorted(packages, key=lambda package: package.name):
        fields = (item.name, item.version, item.architecture, str(item.size_bytes), item.sha256, item.pool_path)
        lines.append(" ".join(fields))
    return "\n".join(lines) + "\n"


def digest_of(data: bytes) -> str:
    """`sha256:<hex>` of some bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _parse_wheels(text: str, source: str) -> dict[str, Wheel]:
    wheels: dict[str, Wheel] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.startswith("# wheel "):
            continue
        found = _WHEEL_LINE.fullmatch(line)
        if not found:
            problem = f"{source}, line {number}: {line!r} names no wheel"
            raise UsageError(problem, "write `# wheel <name> <file> <bytes> sha256:<hex>`, or compile the lock again")
        if found[1] in wheels:
            raise UsageError(f"{source}, line {number}: a second wheel of {found[1]}", "compile the lock again")
        wheels[found[1]] = Wheel(filename=found[2], size_bytes=int(found[3]), sha256=found[4])
    return wheels


def _with_wheel(pin: Pin, wheel: Wheel | None, source: str) -> Pin:
    if wheel and wheel.sha256 not in pin.hashes:
        problem = f"{source}: the hash of {wheel.filename} is not among those of {pin.name}"
        raise UsageError(problem, "somebody edited the lock by hand: compile it again")
    return dataclasses.replace(pin, wheel=wheel)


def _parse_pin(line: str, where: str) -> Pin:
    if line.startswith("-"):
        problem = f"{where}: a lock cannot hold an option ({line.split()[0]})"
        raise UsageError(problem, "a lock holds pinned requirements only; put options into pip's own configuration")
    spec, hashes = without_hashes(line)
    if spec != re.split(r"\s--hash", line)[0].strip():
        raise UsageError(f"{where}: something follows the hashes", "write `name==version --hash=sha256:...`")
    try:
        requirement = Requirement(spec)
    except InvalidRequirement as error:
        raise UsageError(f"{where}: not a requirement: {spec!r} ({error})", "compile the lock again") from error
    # `===` is `==` without local versions: torch===2.13.0 is not 2.13.0+cpu.
    version = exact_version(requirement)
    if requirement.url or not version or len(requirement.specifier) != 1:
        raise UsageError(f"{where}: {requirement.name} is not pinned with ==", "compile the lock again")
    wrong = [value for value in hashes if not _SHA256.fullmatch(value)]
    if wrong or not hashes:
        found = wrong[0] if wrong else "none"
        problem = f"{where}: {requirement.name} has no sha256 hash (found {found})"
        raise UsageError(problem, "compile the lock with --generate-hashes")
    return Pin(
        name=canonicalize_name(requirement.name),
        version=version,
        hashes=tuple(sorted(set(hashes))),
        marker=str(requirement.marker) if requirement.marker else "",
    )


def _parse_package(fields: list[str], where: str) -> BasePackage:
    if len(fields) != len(_DEBIAN_FIELD):
        problem = f"{where}: {len(fields)} fields instead of {len(_DEBIAN_FIELD)} ({', '.join(_DEBIAN_FIELD)})"
        raise UsageError(problem, "write the lock with `harness lock`")
    for (label, pattern), value in zip(_DEBIAN_FIELD.items(), fields, strict=True):
        if not pattern.fullmatch(value):
            raise UsageError(f"{where}: {value!r} is not a valid {label}", "write the lock with `harness lock`")
    name, version, architecture, size, sha256, pool_path = fields
    return BasePackage(
        name=name, version=version, architecture=architecture, size_bytes=int(size), sha256=sha256, pool_path=pool_path
    )
