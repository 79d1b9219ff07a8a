"""Files of somebody else, read without trust: those of a folder, or, with the same manners, those inside an archive."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.documents.digest import Data, Digest, sha256_of
from harness.system.safe_read import is_plain, safe_read, walk_output


class Files(Protocol):
    """Files below a root. Names are relative to it, with `/` between their parts."""

    @property
    def name(self) -> str:
        """What the root is called in messages: the last part of its path."""

    def read(self, path: str, *, max_bytes: int) -> Data:
        """The contents of a regular file.

        Raises:
            EvidenceError: missing, a link, no regular file, outside of the root, or larger than `max_bytes`.
        """

    def digest(self, path: str, data: Data) -> Digest:
        """The sha256 of a file whose contents were read; one that was checked already is not computed again."""

    def walk(self, folder: str) -> Iterator[tuple[str, bool]]:
        """Every path below a folder that is no folder itself, sorted, relative to it, and whether it is a regular file.

        Raises:
            EvidenceError: there is no such folder, or it holds too much.
        """

    def exists(self, path: str) -> bool:
        """Whether something of that name, a link perhaps, is there."""

    def below(self, folder: str) -> Files:
        """The files below a folder, which need not exist."""


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The files below a folder of this machine; no link is followed."""

    root: Path

    @property
    def name(self) -> str:
        return self.root.name

    def read(self, path: str, *, max_bytes: int) -> Data:
        return safe_read(self.root, path, max_bytes=max_bytes)

    def digest(self, path: str, data: Data) -> Digest:  # noqa: ARG002
        """Computed: nobody knows it before."""
        return sha256_of(data)

    def walk(self, folder: str) -> Iterator[tuple[str, bool]]:
        """Links are not entered."""
        return walk_output(self.root / folder, self.name)

    def exists(self, path: str) -> bool:
        """A link counts, wherever it points to."""
        return is_plain(path) and os.path.lexists(self.root / path)

    def below(self, folder: str) -> Files:
        """The folder itself may be a link only where its own path below the root is none."""
        return FolderFiles(self.root / folder)


def as_files(source: Files | Path) -> Files:
    """A folder's path as its files; files as they are."""
    return FolderFiles(source) if isinstance(source, Path) else source
