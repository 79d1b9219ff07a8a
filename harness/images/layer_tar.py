"""Layer archives on disk: read into entries, written canonically, compared. Contents are streamed, never kept.

A layer of a million files costs memory for its index only; the bytes stay in the file they lie in and are copied from
there, a mebibyte at a time.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from harness.errors import HostError, UsageError
from harness.images.image import FileDifference
from harness.images.layer import BLOCK, END_OF_ARCHIVE, Entry, Kind, clean_path, header, padding

CHUNK = 1 << 20
_KINDS: dict[bytes, Kind] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.LNKTYPE: "hardlink",
    tarfile.SYMTYPE: "symlink",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.DIRTYPE: "dir",
    tarfile.FIFOTYPE: "fifo",
    tarfile.GNUTYPE_SPARSE: "file",
}
_XATTR = "SCHILY.xattr."


def read_layer(archive: Path) -> list[Entry]:
    """The members of an uncompressed tar archive, in its order; the root folder itself is left out.

    Raises:
        UsageError: it is torn, holds a path that climbs, or a member of a kind that no layer has.
    """
    size = archive.stat().st_size
    entries = []
    try:
        with archive.open("rb", 0) as raw, _open(_Archive(raw, size)) as members:
            for member in members:
                members.members.clear()  # type: ignore[attr-defined]  # tarfile would keep every one it has seen
                entry = _entry(member, archive)
                if entry.kind == "file" and entry.offset + _stored_size(entry, archive) > size:
                    raise _torn(archive, f"{entry.path} is cut short")
                if entry.path:
                    entries.append(entry)
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:  # tarfile lets the last two through
        raise _torn(archive, str(error)) from error
    return entries


def encode(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The archive of some entries, in the order given, in chunks of about a mebibyte.

    Raises:
        HostError: a file changed while it was read.
    """
    buffer = bytearray()
    source = _Source()
    try:
        for entry in entries:
            buffer += header(entry)
            for piece in source.read(entry):
                buffer += piece
                if len(buffer) >= CHUNK:
                    yield bytes(buffer)
                    buffer.clear()
            buffer += padding(entry.size)
        yield bytes(buffer) + END_OF_ARCHIVE
    finally:
        source.close()


def read_contents(entry: Entry) -> Iterator[bytes]:
    """The contents of one file, in pieces.

    Raises:
        HostError: the archive changed while it was read.
    """
    source = _Source()
    try:
        yield from source.read(entry)
    finally:
        source.close()


def encoded_size(entries: Iterable[Entry]) -> int:
    total = len(END_OF_ARCHIVE)
    for entry in entries:
        total += len(header(entry)) + entry.size + (-entry.size % BLOCK)
    return total


def layer_digest(entries: Iterable[Entry]) -> str:
    """The sha256 of what `encode` gives: the layer's `diff_id`."""
    hasher = hashlib.sha256()
    for chunk in encode(entries):
        hasher.update(chunk)
    return "sha256:" + hasher.hexdigest()


def differences(first: Iterable[Entry], second: Iterable[Entry]) -> tuple[FileDifference, ...]:
    """The paths that two layers do not agree on, sorted, and how they differ."""
    left = {entry.path: entry for entry in first}
    right = {entry.path: entry for entry in second}
    found = []
    for path in sorted(left.keys() | right.keys()):
        if path not in right:
            found.append(FileDifference(path=path, how="only in the first build"))
        elif path not in left:
            found.append(FileDifference(path=path, how="only in the second build"))
        elif how := _difference(left[path], right[path]):
            found.append(FileDifference(path=path, how=how))
    return tuple(found)


def _open(archive: _Archive) -> tarfile.TarFile:
    return tarfile.open(fileobj=archive, mode="r:", encoding="utf-8", errors="surrogateescape")


def _entry(member: tarfile.TarInfo, archive: Path) -> Entry:
    kind = _KINDS.get(member.type)
    if kind is None:
        raise _torn(archive, f"{member.name!r} is of a kind that is not supported ({member.type!r})")
    if min(member.size, member.uid, member.gid, member.devmajor, member.devminor) < 0:
        raise _torn(archive, f"a number of {member.name!r} is negative")
    xattrs = {
        key.removeprefix(_XATTR): value.encode("utf-8", "surrogateescape")
        for key, value in member.pax_headers.items()
        if key.startswith(_XATTR)
    }
    is_file = kind == "file"
    link = clean_path(member.linkname) if kind == "hardlink" else member.linkname if kind == "symlink" else ""
    return Entry(
        path=clean_path(member.name),
        kind=kind,
        mode=member.mode & 0o7777,
        uid=member.uid,
        gid=member.gid,
        size=member.size if is_file else 0,
        link=link,
        device=(member.devmajor, member.devminor) if kind in ("char", "block") else (0, 0),
        xattrs=tuple(sorted(xattrs.items())),
        archive=str(archive) if is_file else "",
        offset=member.offset_data if is_file else 0,
        extents=_extents(member),
    )


def _extents(member: tarfile.TarInfo) -> tuple[tuple[int, int], ...]:
    """The parts of a sparse file; a single hole has an empty part, so that it is not taken for another file."""
    if not member.issparse():
        return ()
    parts = cast("list[tuple[int, int]]", member.sparse)  # what the type stubs call bytes
    return tuple((start, length) for start, length in parts if length) or ((member.size, 0),)


def _stored_size(entry: Entry, archive: Path) -> int:
    """How many bytes of a file lie in the archive: all of them, or the parts of a sparse file."""
    if not entry.extents:
        return entry.size
    end = stored = 0
    for position, length in entry.extents:
        if position < end or length < 0 or position + length > entry.size:
            raise _torn(archive, f"the parts of the sparse file {entry.path} overlap or lie outside of it")
        end = position + length
        stored += length
    return stored


def _torn(archive: Path, how: str) -> UsageError:
    return UsageError(f"the archive {archive.name} cannot be read: {how}", "make it or fetch it again")


def _difference(left: Entry, right: Entry) -> str:
    """How two members of one path differ, the most telling thing first; "" if they do not."""
    for name in ("kind", "mode", "uid", "gid", "link", "device", "xattrs"):
        one, other = getattr(left, name), getattr(right, name)
        if one != other:
            shown = [f"{value:o}" if name == "mode" else str(value) for value in (one, other)]
            return f"{name} {shown[0]} and {shown[1]}"
    position = _first_difference(left, right)
    if position is None:
        return f"size {left.size} and {right.size}" if left.size != right.size else ""
    return f"content from byte {position} (sizes {left.size} and {right.size})"


def _first_difference(left: Entry, right: Entry) -> int | None:
    sources = _Source(), _Source()
    try:
        position = 0
        for one, other in zip(sources[0].read(left), sources[1].read(right), strict=False):
            if one != other:
                same = (index for index, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1])
                return position + next(same, min(len(one), len(other)))
            position += len(one)
        return None if left.size == right.size else position
    finally:
        for source in sources:
            source.close()


def _filled(stream: BinaryIO, entry: Entry) -> Iterator[bytes]:
    """A sparse file with zeros in its holes, cut where any other file is: two are compared piece by piece."""
    parts = deque(entry.extents)
    for position in range(0, entry.size, CHUNK):
        piece = bytearray(min(CHUNK, entry.size - position))
        while parts and parts[0][0] < position + len(piece):
            start, length = parts.popleft()
            taken = min(length, position + len(piece) - start)
            piece[start - position : start - position + taken] = _exactly(stream, taken, entry)
            if taken < length:
                parts.appendleft((start + taken, length - taken))
        yield bytes(piece)


def _exactly(stream: BinaryIO, size: int, entry: Entry) -> bytes:
    piece = stream.read(size)
    if len(piece) != size:
        problem = f"{entry.path} became shorter while it was read"
        raise HostError(problem, "let nothing write to the cache or to images/ during a build")
    return piece


class _Archive(io.BufferedReader):
    """An archive of which never more is read at once than it holds, however much a header asks for."""

    def __init__(self, raw: io.FileIO, size: int) -> None:
        super().__init__(raw)
        self._size = size

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes."""
        return super().read(-1 if size is None else min(size, self._size))


class _Source:
    """Reads entries' contents, keeping the archive that was last used open."""

    def __init__(self) -> None:
        self._name = ""
        self._stream: BinaryIO | None = None

    def read(self, entry: Entry) -> Iterator[bytes]:
        """The contents of a file in pieces; nothing for other kinds."""
        if not entry.size:
            return
        stream = self._open(entry.archive)
        stream.seek(entry.offset)
        if entry.extents:
            yield from _filled(stream, entry)
            return
        for position in range(0, entry.size, CHUNK):
            yield _exactly(stream, min(CHUNK, entry.size - position), entry)

    def close(self) -> None:
        if self._stream:
            self._stream.close()

    def _open(self, name: str) -> BinaryIO:
        if self._stream is None or name != self._name:
            self.close()
            self._stream = Path(name).open("rb")  # noqa: SIM115
            self._name = name
        return self._stream
