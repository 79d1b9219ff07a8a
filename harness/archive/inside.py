"""The files of one artifact inside an archive, read in place, as by `harness.system.files.FolderFiles`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping

from harness.archive.window import Window
from harness.documents.archive import LeftOut
from harness.documents.digest import Data, Digest
from harness.errors import EvidenceError
from harness.evidence.reader import Part
from harness.system.files import Files
from harness.system.safe_read import MAX_DEPTH, MAX_ENTRIES, REMEDY, clean


class ArchiveFiles:
    """Files by their titles, and what else the folder had that they come from.

    Args:
        window: the archive.
        places: offset and size of each file by its title.
        digests: the sha256 of each, checked already.
        left_out: what was no regular file there, and folders that held nothing.
        prefix: "" or the folder, with a slash at its end, that these files lie below.
    """

    def __init__(
        self,
        window: Window,
        places: Mapping[str, tuple[int, int]],
        digests: Mapping[str, Digest],
        left_out: LeftOut | None = None,
        prefix: str = "",
    ) -> None:
        self._window = window
        self._places, self._digests = places, digests
        links, others = (left_out.links, left_out.others) if left_out else ((), ())
        self._irregular = dict.fromkeys(links, "is a link, and links are not followed")
        self._irregular |= dict.fromkeys(others, "is no regular file")
        self._empty = left_out.empty if left_out else ()
        self._prefix = prefix
        self._titles = sorted(places)

    @property
    def name(self) -> str:
        """The last part of the root's path; the archive's own name at the top."""
        return self._prefix.rstrip("/").rpartition("/")[2] or self._window.name

    def read(self, path: str, *, max_bytes: int) -> Data:
        """The contents of a file, read when they are asked for, as long as the archive is open.

        Raises:
            EvidenceError: missing, no regular file, or larger than `max_bytes`.
        """
        shown = clean(f"{self.name}/{path}")
        title = self._prefix + path
        if title not in self._places:
            how = self._irregular.get(title) or ("is no regular file" if self.exists(path) else "is missing")
            raise EvidenceError(f"{shown} {how}", REMEDY)
        offset, size = self._places[title]
        if size > max_bytes:
            raise EvidenceError(f"{shown} has {size} bytes, at most {max_bytes} are read", REMEDY)
        return Part(self._window, offset, offset + size)

    def digest(self, path: str, data: Data) -> Digest:  # noqa: ARG002
        """That of its blob, which was checked when the archive was opened."""
        return self._digests[self._prefix + path]

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
            raise EvidenceError(f"{self.name}: there is no folder {shown}", REMEDY)
        if len(found) > MAX_ENTRIES or any(path.count("/") > MAX_DEPTH for path, _ in found):
            problem = f"{self.name}: {shown} holds more than {MAX_ENTRIES} files or {MAX_DEPTH} levels"
            raise EvidenceError(problem, REMEDY)
        yield from sorted(found)

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        title = self._prefix + path
        others = (*self._irregular, *self._empty)
        return (
            title in self._places
            or next(self._below(f"{title}/"), None) is not None
            or any(f"{other}/".startswith(f"{title}/") for other in others)
        )

    def below(self, folder: str) -> Files:
        """The files below a folder, which need not exist."""
        inside = ArchiveFiles.__new__(ArchiveFiles)
        inside.__dict__.update(self.__dict__)
        inside._prefix = f"{self._prefix}{folder}/"
        return inside

    def _below(self, start: str) -> Iterator[str]:
        for place in range(bisect_left(self._titles, start), len(self._titles)):
            if not self._titles[place].startswith(start):
                return
            yield self._titles[place]
