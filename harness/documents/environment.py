"""The Python environment of a training without a container: what it is, and how it differs from the image's lock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from harness.documents.document import Model

_MAX_NAMED = 3
_MAX_PACKAGES = 100_000


class MissingPackage(Model):
    """A package that is locked and not installed."""

    name: str
    locked: str


class AddedPackage(Model):
    """A package that is installed and not locked."""

    name: str
    found: str


class ChangedPackage(Model):
    """A package that is installed in another version than the locked one."""

    name: str
    locked: str
    found: str


class PythonDifference(Model):
    """The series of Python that is locked (`3.11`), and the one that is there."""

    locked: str
    found: str


class EnvironmentDifference(Model):
    """How an environment differs from a lock; packages are sorted by name."""

    python: PythonDifference | None = None
    missing: tuple[MissingPackage, ...] = ()
    added: tuple[AddedPackage, ...] = ()
    changed: tuple[ChangedPackage, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the environment is the locked one."""
        return self.python is None and not self.has_packages

    @property
    def has_packages(self) -> bool:
        """Whether any package differs."""
        return any(self.counts().values())

    def counts(self) -> dict[str, int]:
        """How many packages differ in which way."""
        return {"missing": len(self.missing), "changed": len(self.changed), "added": len(self.added)}

    def summary(self) -> str:
        """`1 missing (torch), 2 changed (numpy 1.26.4 instead of 2.1.0, ...)`; `none` for none."""
        parts = [f"Python {self.python.found} instead of {self.python.locked}"] if self.python else []
        parts += _named("missing", [one.name for one in self.missing])
        parts += _named("changed", [f"{one.name} {one.found} instead of {one.locked}" for one in self.changed])
        parts += _named("added", [f"{one.name} {one.found}" for one in self.added])
        return ", ".join(parts) or "none"


class EnvironmentFacts(Model):
    """An environment that somebody gave, or that was made from the lock, against that lock."""

    kind: Literal["given", "lock"]
    lock: str
    python: str
    implementation: str
    platform: str
    num_packages: int = Field(ge=0, le=_MAX_PACKAGES)
    is_locked: bool
    counts: dict[str, int]
    difference: EnvironmentDifference

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.counts != self.difference.counts() or self.is_locked != self.difference.is_empty:
            raise ValueError("its numbers contradict each other")
        return self

    def sentence(self) -> str:
        """That it is not the locked environment, or an empty text."""
        return "" if self.is_locked else f"the environment is not the one of {self.lock}: {self.difference.summary()}"


def _named(what: str, names: Sequence[str]) -> list[str]:
    more = ", ..." if len(names) > _MAX_NAMED else ""
    return [f"{len(names)} {what} ({', '.join(names[:_MAX_NAMED])}{more})"] if names else []
