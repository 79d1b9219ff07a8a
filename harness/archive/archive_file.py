"""Files that lie inside of one larger file, read in place: those of an archive, and those of the `code.tar` in it."""

from __future__ import annotations

import copy
import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.documents.archive import LeftOut
from harness.documents.digest import Data, Digest, sha256_of
from harness.errors import EvidenceError, HostError, UsageError
from harness.evidence.reader import Part
from harness.system.files import Files
from harness.system.safe_read import MAX_DEPTH, MAX_ENTRIES, READ, REMEDY, OpenFile, clean

_NOT_ONE = "give a file that `harness archive` wrote"
IS_LINK = "is a link, and links are not followed"


def open_file(path: Path) -> OpenFile:
    """Open an archive.

    Raises:
        UsageError: there is no such file.
        HostError: it cannot be opened.
    """
    try:
        descriptor = os.open(path, READ)
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}", _NOT_ONE) from error
    except OSError as error:
        raise HostError(f"{path} cannot be opened: {error.strerror}", "check its permissions") from error
    file = OpenFile(descriptor, path.name, HostError)
    if not file.is_regular:
        raise UsageError(f"{path} is no file", _NOT_ONE)
    return file


class PackedFiles:
    """The files of one artifact in an archive, or of a `code.tar`, and what else the folder had that they come from.

    Args:
        data: what they lie in.
        name: of the root.
        places: offset and size of each file by its title.
        digests: the sha256 of files where it is known, checked already.
        left_out: what was no regular file there, and folders that held nothing.
        remedy: for a file that is missing, or is none.
    """

    def __init__(
        self,
        data: Data,
        name: str,
        places: Mapping[str, tuple[int, int]],
        *,
        digests: Mapping[str, Digest],
        left_out: LeftOut,
        remedy: str = REMEDY,
    ) -> None:
        self._data, self._name, self._places, self.digests, self._remedy = data, name, places, digests, remedy
        self._irregular = dict.fromkeys(left_out.links, IS_LINK) | dict.fromkeys(left_out.others, "is no regular file")
        self._empty = left_out.empty
        self._titles = sorted(places)
        self._prefix = ""

    @property
    def name(self) -> str:
        return self._prefix.rstrip("/").rpartition("/")[2] or self._name

    def read(self, path: str, *, max_bytes: int) -> Data:
        """The contents of a file, read when they are asked for.

        Raises:
            EvidenceError: missing, no regular file, or larger than `max_bytes`.
        """
        shown = clean(f"{self.name}/{path}")
        title = self._prefix + path
        if title not in self._places:
            how = self._irregular.get(title) or ("is no regular file" if self.exists(path) else "is missing")
            raise EvidenceError(f"{shown} {how}", self._remedy)
        offset, size = self._places[title]
        if size > max_bytes:
            raise EvidenceError(f"{shown} has {size} bytes, at most {max_bytes} are read", self._remedy)
        return Part(self._data, offset, offset + size)

    def digest(self, path: str, data: Data) -> Digest:
        """The known one, else computed."""
        return self.digests.get(self._prefix + path) or sha256_of(data)

    def walk(self, folder: str) -> Iterator[tuple[str, bool]]:
        """Every path below a folder, sorted, and whether it is a regular file; "" is the root itself.

        Raises:
            EvidenceError: there is no such folder, or it holds more than is read of a folder.
        """
        start = f"{self._prefix}{folder}/" if folder else self._prefix
        found = [(title.removeprefix(start), True) for title in self._below(start)]
        found += [(path.removeprefix(start), False) for path in self._irregular if path.startswith(start)]
        shown = folder.rpartition("/")[2]
        if not found and not any(f"{path}/".startswith(start) for path in self._empty):
            raise EvidenceError(f"{self.name}: there is no folder {shown}", self._remedy)
        if len(found) > MAX_ENTRIES or any(path.count("/") > MAX_DEPTH for path, _ in found):
            problem = f"{self.name}: {shown} holds more than {MAX_ENTRIES} files or {MAX_DEPTH} levels"
            raise EvidenceError(problem, self._remedy)
        yield from sorted(found)

    def exists(self, path: str) -> bool:
        title = self._prefix + path
        others = (*self._irregular, *self._empty)
        return (
            title in self._places
            or next(self._below(f"{title}/"), None) is not None
            or any(f"{other}/".startswith(f"{title}/") for other in others)
        )

    def parts(self) -> Iterator[tuple[str, Data]]:
        """Every file with its contents, sorted by title."""
        return ((title, Part(self._data, begin, begin + size)) for title, (begin, size) in sorted(self._places.items()))

    def below(self, folder: str) -> Files:
        inside = copy.copy(self)
        inside._prefix = f"{self._prefix}{folder}/"
        return inside

    def _below(self, start: str) -> Iterator[str]:
        for place in range(bisect_left(self._titles, start), len(self._titles)):
            if not self._titles[place].startswith(start):
                return
            yield self._titles[place]
