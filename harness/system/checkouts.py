"""Checkouts: how their files are read, and which use the cache, so that what they name is not collected."""

from __future__ import annotations

from pathlib import Path

from harness.documents.lockfile import Lockfile, digest_of, parse_lock
from harness.errors import UsageError
from harness.system.store import Store

KIND = "checkouts"


def read_text(path: Path, remedy: str) -> str:
    """A file that a person wrote, in UTF-8.

    Raises:
        UsageError: it does not exist or cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}", remedy) from error


def remember_checkout(store: Store, root: Path) -> None:
    """Record that a checkout uses the cache."""
    path = str(root.resolve())
    if (store.read_record(KIND, checkout_key(path)) or {}).get("path") != path:
        store.write_record(KIND, checkout_key(path), {"path": path})


def checkout_key(path: str) -> str:
    """The name of a checkout's record: hex digits."""
    return digest_of(path.encode(errors="surrogateescape")).removeprefix("sha256:")


def read_lock(path: Path) -> Lockfile:
    """Read a wheel lock from a file.

    Raises:
        UsageError: it does not exist or is malformed.
    """
    return parse_lock(read_text(path, f"write it with `harness lock {path.stem}`"), path.name)
