"""What wheels say about themselves: `METADATA` (core metadata) out of the wheels of a lock, which lie in the store.

A wheel is an archive from elsewhere. One member is read, within a bound, and nothing is unpacked.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from packaging.metadata import RawMetadata, parse_email
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from harness.documents.lockfile import Lockfile, Pin
from harness.errors import HostError, UsageError
from harness.system.store import Store, disk_errors

_MAX_MEMBERS = 200_000
_MAX_BYTES = 4 << 20
_MAX_LICENCE = 100
_CLASSIFIER = "License :: "
_T = TypeVar("_T")


def requirements_of(lock: Lockfile, store: Store) -> dict[str, tuple[str, ...]]:
    """The `Requires-Dist` lines of every wheel that a lock names, by distribution.

    Raises:
        HostError: a wheel is not in the store.
        UsageError: a wheel is torn, has no metadata of its own, or is another distribution than the lock says.
    """
    return _of_all(lock, store, lambda metadata: tuple(metadata.get("requires_dist") or ()))


def licences_of(lock: Lockfile, store: Store) -> dict[str, str]:
    """The licence of every wheel that tells one, by distribution.

    `License-Expression` (PEP 639) where there is one, else a `License` of one short line, else the classifiers' words.

    Raises:
        HostError: a wheel is not in the store.
        UsageError: a wheel is torn, has no metadata of its own, or is another distribution than the lock says.
    """
    found = _of_all(lock, store, _licence)
    return {name: licence for name, licence in found.items() if licence}


def licence_of(wheel: Path, name: str) -> str:
    """What one wheel, called `name` in errors, says its licence is, or "".

    Raises:
        UsageError: it is torn, or has no metadata of its own.
    """
    return _licence(parse_email(_member(wheel, name))[0])


def _of_all(lock: Lockfile, store: Store, take: Callable[[RawMetadata], _T]) -> dict[str, _T]:
    with disk_errors("reading the wheels' metadata"):
        return {pin.name: take(_metadata(pin, store)) for pin in lock.pins if pin.wheel}


def _licence(metadata: RawMetadata) -> str:
    if expression := (metadata.get("license_expression") or "").strip():
        return expression
    words = (metadata.get("license") or "").strip()
    if words and "\n" not in words and len(words) <= _MAX_LICENCE and words.upper() != "UNKNOWN":
        return words
    classifiers = [line for line in metadata.get("classifiers") or () if line.startswith(_CLASSIFIER)]
    return ", ".join(sorted({line.rpartition(" :: ")[2] for line in classifiers}))


def _metadata(pin: Pin, store: Store) -> RawMetadata:
    assert pin.wheel
    blob, name = store.blob(pin.wheel.sha256), pin.wheel.filename
    if not blob.is_file():
        raise HostError(f"the wheel {name} is not in the cache", "fetch it: `harness build`, or `harness lock`")
    raw, _ = parse_email(_member(blob, name))
    try:
        is_it = canonicalize_name(raw.get("name") or "") == pin.name
        is_it = is_it and Version(raw.get("version") or "") == Version(pin.version)
    except InvalidVersion:
        is_it = False
    if not is_it:
        problem = f"{name} says that it is {raw.get('name')!a} {raw.get('version')!a}, not {pin.name} {pin.version}"
        raise _refused(problem)
    return raw


def _member(wheel: Path, name: str) -> bytes:
    """The contents of the one `*.dist-info/METADATA` at the top of a wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = archive.infolist()
            if len(members) > _MAX_MEMBERS:
                raise _refused(f"{name} holds {len(members)} members, at most {_MAX_MEMBERS} are read")
            found = [one for one in members if one.filename.endswith(".dist-info/METADATA")]
            found = [one for one in found if one.filename.count("/") == 1]
            if len(found) != 1:
                raise _refused(f"{name} holds {len(found)} METADATA files instead of one")
            with archive.open(found[0]) as stream:
                content = stream.read(_MAX_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise _refused(f"{name} is torn: {error}") from error
    if len(content) > _MAX_BYTES:
        raise _refused(f"the METADATA of {name} is larger than {_MAX_BYTES} bytes")
    return content


def _refused(problem: str) -> UsageError:
    return UsageError(problem, "do not use this wheel; lock another version")
