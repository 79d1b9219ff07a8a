"""Checkouts that use the cache: remembered there, so that what they name is not collected while they exist."""

from __future__ import annotations

from pathlib import Path

from harness.core.lockfile import digest_of
from harness.host.store import Store

KIND = "checkouts"


def remember_checkout(store: Store, root: Path) -> None:
    """Record that a checkout uses the cache."""
    path = str(root.resolve())
    if (store.read_record(KIND, checkout_key(path)) or {}).get("path") != path:
        store.write_record(KIND, checkout_key(path), {"path": path})


def checkout_key(path: str) -> str:
    """The name of a checkout's record: hex digits."""
    return digest_of(path.encode(errors="surrogateescape")).removeprefix("sha256:")
