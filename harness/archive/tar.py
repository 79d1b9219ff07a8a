"""Canonical tar archives, read strictly: every byte of a header must be the one that would be written for its member.

Headers are written by `harness.images.layer.header`. A reader that only understood them would pass over what is never
looked at: modes, owners, times, padding, a second way to write a number, an extension. So each header is made again
from what was read, and compared; padding must be zero, and nothing may follow the two empty blocks at the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.documents.digest import Data
from harness.errors import TamperedError
from harness.images.layer import BLOCK, END_OF_ARCHIVE, Entry, header, padding

_MAX_PAX_BYTES = 16 << 10
_OCTAL = re.compile(rb"([0-7]{6,11})\0")
_PAX = re.compile(rb"(\d{1,5}) (path|linkpath|size)=")
_REMEDY = "get the archive again from whoever made it, and compare its sha256"


def read_members(data: Data, name: str, *, max_members: int) -> Iterator[tuple[Entry, int]]:
    """The members of an archive, in its order, and where the contents of each begin.

    Only files and symbolic links, without owners, are members of canonical archives.

    Raises:
        TamperedError: a byte is not the one that a canonical archive has there, or there are too many members.
    """
    offset, number = 0, 0
    while (block := data[offset : offset + BLOCK]) != END_OF_ARCHIVE[:BLOCK]:
        number += 1
        if number > max_members:
            raise TamperedError(f"{name} has more than {max_members} members", _REMEDY)
        entry, begin = _member(data, offset, block, f"{name}, member {number}")
        end = begin + entry.size
        offset = end + (-end % BLOCK)
        if offset + len(END_OF_ARCHIVE) > len(data):
            raise TamperedError(f"{name}, member {number}: it reaches beyond the end of the archive", _REMEDY)
        if data[end:offset] != padding(entry.size):
            raise TamperedError(f"{name}, member {number}: something stands behind its contents", _REMEDY)
        yield entry, begin
    if len(data) - offset != len(END_OF_ARCHIVE) or data[offset:] != END_OF_ARCHIVE:
        raise TamperedError(f"{name} does not end where its last member ends", _REMEDY)


def _member(data: Data, offset: int, block: bytes, where: str) -> tuple[Entry, int]:
    records: dict[bytes, bytes] = {}
    begin = offset
    if block[156:157] == b"x":
        length = _number(block, 124, 12, where)
        if length > _MAX_PAX_BYTES:
            raise TamperedError(f"{where}: an extended header of {length} bytes", _REMEDY)
        records = _records(data[begin + BLOCK : begin + BLOCK + length])
        begin += BLOCK + length + (-length % BLOCK)
        block = data[begin : begin + BLOCK]
    if len(block) != BLOCK or block[156:157] not in (b"0", b"2"):
        raise TamperedError(f"{where}: it is no file and no link of a canonical archive", _REMEDY)
    is_file = block[156:157] == b"0"
    size = records.get(b"size")
    entry = Entry(
        path=_text(records.get(b"path", block[:100].rstrip(b"\0"))),
        kind="file" if is_file else "symlink",
        mode=_number(block, 100, 8, where),
        size=_number(block, 124, 12, where) if size is None else int(size),
        link=_text(records.get(b"linkpath", block[157:257].rstrip(b"\0"))),
    )
    begin += BLOCK
    is_sound = not (entry.link if is_file else entry.size)
    if not is_sound or data[offset:begin] != header(entry):
        raise TamperedError(f"{where}: its header is not the canonical one", _REMEDY)
    return entry, begin


def _number(block: bytes, begin: int, width: int, where: str) -> int:
    found = _OCTAL.fullmatch(block, begin, begin + width)
    if found is None:
        raise TamperedError(f"{where}: a number of its header cannot be read", _REMEDY)
    return int(found[1], 8)


def _records(body: bytes) -> dict[bytes, bytes]:
    """What an extended header says; what cannot be read is left out, and is missed when the header is made again."""
    found: dict[bytes, bytes] = {}
    place = 0
    while match := _PAX.match(body, place):
        end = place + int(match[1])
        value = body[match.end() : end - 1]
        if end <= match.end() or (match[2] == b"size" and not re.fullmatch(rb"[1-9]\d{0,17}", value)):
            break
        found[match[2]] = value
        place = end
    return found


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
