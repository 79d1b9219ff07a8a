"""An interpreter that somebody gave, as a value, and how its packages differ from those of a lock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from packaging.markers import Marker
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from harness.documents.digest import Digest, canonical_json, sha256
from harness.documents.lockfile import Lockfile

_MAX_NAMED = 3
_MAX_PACKAGES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A Python as it describes itself.

    Attributes:
        version: `3.11.7`.
        prefix: of the environment (`sys.prefix`).
        markers: the values of packaging's environment markers there, by name.
        packages: distribution and version, by canonical name; where a name comes twice, the one that is imported.
    """

    version: str
    implementation: str
    platform: str
    prefix: str
    markers: tuple[tuple[str, str], ...]
    packages: tuple[tuple[str, str], ...]

    @property
    def series(self) -> str:
        """`3.11`."""
        return ".".join(self.version.split(".")[:2])

    @property
    def digest(self) -> Digest:
        """Of everything that is known of it."""
        return sha256(canonical_json([self.version, self.implementation, self.platform, self.prefix, *self.packages]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How an environment differs from a lock.

    Attributes:
        python: the series that is locked and the one that is there, if they differ.
        missing: locked and not there: (name, locked version).
        added: there and not locked: (name, version).
        changed: (name, locked version, version that is there).
    """

    python: tuple[str, str] | None = None
    missing: tuple[tuple[str, str], ...] = ()
    added: tuple[tuple[str, str], ...] = ()
    changed: tuple[tuple[str, str, str], ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the environment is the locked one."""
        return not (self.python or self.missing or self.added or self.changed)

    @property
    def has_packages(self) -> bool:
        """Whether any package differs."""
        return bool(self.missing or self.added or self.changed)

    def counts(self) -> dict[str, int]:
        """How many packages differ in which way."""
        return {"missing": len(self.missing), "changed": len(self.changed), "added": len(self.added)}

    def to_json(self) -> dict[str, Any]:
        """Plain lists, as verdict.json and manifest.json have it."""
        return {
            "python": None if self.python is None else {"locked": self.python[0], "found": self.python[1]},
            "missing": [{"name": name, "locked": locked} for name, locked in self.missing],
            "added": [{"name": name, "found": found} for name, found in self.added],
            "changed": [{"name": name, "locked": locked, "found": found} for name, locked, found in self.changed],
        }

    def summary(self) -> str:
        """`1 missing (torch), 2 changed (numpy 1.26.4 instead of 2.1.0, ...)`; `none` for none."""
        parts = []
        if self.python is not None:
            parts.append(f"Python {self.python[1]} instead of {self.python[0]}")
        for what, names in (
            ("missing", [name for name, _ in self.missing]),
            ("changed", [f"{name} {found} instead of {locked}" for name, locked, found in self.changed]),
            ("added", [f"{name} {found}" for name, found in self.added]),
        ):
            more = ", ..." if len(names) > _MAX_NAMED else ""
            if names:
                parts.append(f"{len(names)} {what} ({', '.join(names[:_MAX_NAMED])}{more})")
        return ", ".join(parts) or "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where processes ran without a container.

    Attributes:
        is_given: whether somebody gave the interpreter; else it is the environment made from the lock.
        lock: the lock's file name.
    """

    interpreter: Interpreter
    difference: Difference
    lock: str
    is_given: bool

    def to_json(self) -> dict[str, Any]:
        """As verdict.json has it."""
        one = self.interpreter
        return {
            "kind": "given" if self.is_given else "lock",
            "lock": self.lock,
            "python": one.version,
            "implementation": one.implementation,
            "platform": one.platform,
            "num_packages": len(one.packages),
            "is_locked": self.difference.is_empty,
            "counts": self.difference.counts(),
            "difference": self.difference.to_json(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Environment:
        """Read back what `to_json` wrote; of the packages only their number and the differences are known.

        Raises:
            ValueError: it is not what `to_json` writes.
        """
        try:
            num, found = document["num_packages"], document["difference"]
            if type(num) is not int or not 0 <= num <= _MAX_PACKAGES:
                raise ValueError("num_packages is no number of packages")
            interpreter = Interpreter(
                version=document["python"],
                implementation=document["implementation"],
                platform=document["platform"],
                prefix="",
                markers=(),
                packages=(("", ""),) * num,
            )
            difference = Difference(
                python=(found["python"]["locked"], found["python"]["found"]) if found["python"] else None,
                missing=tuple((row["name"], row["locked"]) for row in found["missing"]),
                added=tuple((row["name"], row["found"]) for row in found["added"]),
                changed=tuple((row["name"], row["locked"], row["found"]) for row in found["changed"]),
            )
            is_given = document["kind"] == "given"
            return cls(interpreter=interpreter, difference=difference, lock=document["lock"], is_given=is_given)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no environment: {error}") from error

    def sentence(self) -> str:
        """That it is not the locked environment, or an empty text."""
        if self.difference.is_empty:
            return ""
        return f"the environment is not the one of {self.lock}: {self.difference.summary()}"


def compare_with_lock(interpreter: Interpreter, lock: Lockfile, python: str) -> Difference:
    """How an interpreter differs from a lock; pins whose marker does not hold for it are not expected.

    Args:
        interpreter: as it describes itself.
        lock: the image's.
        python: the series that the lock was resolved for, such as `3.11`.
    """
    # Half a second of import that only this needs.
    from deepdiff import DeepDiff

    markers = dict(interpreter.markers)
    wanted = {pin.name: _version(pin.version) for pin in lock.pins if _applies(pin.marker, markers)}
    found = {name: _version(version) for name, version in interpreter.packages}
    # Without the threshold, environments with little in common differ in one entry that holds all of both.
    tree = DeepDiff(
        {"python": python, "packages": wanted},
        {"python": interpreter.series, "packages": found},
        view="tree",
        threshold_to_diff_deeper=0,
    )
    changed = _leaves(tree, "values_changed")
    series = next(((old, new) for path, old, new in changed if path == ["python"]), None)
    return Difference(
        python=series,
        missing=tuple(sorted((path[1], old) for path, old, _ in _leaves(tree, "dictionary_item_removed"))),
        added=tuple(sorted((path[1], new) for path, _, new in _leaves(tree, "dictionary_item_added"))),
        changed=tuple(sorted((path[1], old, new) for path, old, new in changed if len(path) == 2)),
    )


def canonical_packages(pairs: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Names and versions sorted by canonical name; of a name that comes twice the first counts, as it does for Python.

    Source: https://packaging.python.org/en/latest/specifications/name-normalization/.
    """
    found: dict[str, str] = {}
    for name, version in pairs:
        found.setdefault(canonicalize_name(name), version)
    return tuple(sorted(found.items()))


def _leaves(tree: Mapping[str, Any], kind: str) -> list[tuple[list[str], str, str]]:
    """What deepdiff found of one kind: path, value before, value after."""
    return [(level.path(output_format="list"), level.t1, level.t2) for level in tree.get(kind, ())]


def _applies(marker: str, values: dict[str, str]) -> bool:
    return not marker or Marker(marker).evaluate(environment={**values, "extra": ""})


def _version(text: str) -> str:
    """One spelling of a version (`1.0.0-RC1` is `1.0.0rc1`); what is none stays as it is."""
    try:
        return str(Version(text))
    except InvalidVersion:
        return text
