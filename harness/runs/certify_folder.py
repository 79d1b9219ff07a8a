"""The folder of one certify, `runs/<experiment>/<run id>`: its documents, the link `latest`, the digest of its code."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.documents.digest import Digest, canonical_json, sha256
from harness.system.store import disk_errors, file_digest, write_atomically


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a document with sorted keys, in one step."""
    write_atomically(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def point_latest(folder: Path) -> None:
    """`latest` points at the newest run.

    Raises:
        HostError: the disk is full.
    """
    link, temporary = folder.parent / "latest", folder.parent / f".latest.{os.getpid()}"
    with disk_errors("pointing `latest` at this run"):
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(folder.name)
        temporary.replace(link)


def tree_digest(folder: Path) -> Digest:
    """sha256 over the sorted relative paths and contents of the files below a folder."""
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts
    )
    return sha256(canonical_json({name: file_digest(folder / name) for name in names}))
