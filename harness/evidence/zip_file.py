"""Zip archives, one or several in a row, and the places of their members' bytes; nothing is unpacked.

Format: APPNOTE 6.3.10, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from harness.documents.digest import Data
from harness.errors import EvidenceError
from harness.evidence.reader import Part, crc32_of

_MAX_MEMBERS = 1 << 20
_MAX_DIRECTORY_BYTES = 256 << 20
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_FULL_32 = 0xFFFFFFFF
_MAX_ARCHIVES = 1 << 16
_REMEDY = "the file is torn, or it was not written as a zip archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of an archive: its bytes are `data[begin : begin + size]`; its CRC stands at `crc_at`.

    `is_stored` unless they are compressed; then their CRC is not checked.
    """

    name: str
    header: int
    begin: int
    size: int
    crc: int
    crc_at: int
    is_stored: bool

    @property
    def has_crc(self) -> bool:
        """Whether a CRC was computed; torch's `compute_crc32 = False` leaves 0."""
        return self.is_stored and self.crc != 0


Archive = dict[str, Member]
"""The members by name."""


def is_zip(data: Data) -> bool:
    """Whether the bytes begin as a zip archive does."""
    return data[:4] == b"PK\x03\x04"


def read_zips(data: Data, name: str) -> list[Archive]:
    """The archives that a file consists of, one after the other: one, or as many as a `.distcp` file has tensors.

    Raises:
        EvidenceError: torn, encrypted, with a member twice, with members that overlap, or a CRC is wrong.
    """
    found: list[Archive] = []
    end = len(data)
    while end > 0 or not found:
        try:
            begin, members = _last_archive(data, end, name)
        except struct.error:
            raise _malformed(name, "a directory that is cut") from None
        found.append(_checked(data, members, begin, name))
        if len(found) > _MAX_ARCHIVES:
            raise _malformed(name, f"more than {_MAX_ARCHIVES} archives in a row")
        end = begin
    return found[::-1]


def _checked(data: Data, members: list[Member], begin: int, name: str) -> Archive:
    found = {member.name: member for member in members}
    if len(found) != len(members):
        raise _malformed(name, "the same member twice")
    end = begin
    for member in sorted(members, key=lambda member: member.header):
        if member.header < end:
            raise _malformed(name, f"members that overlap ({member.name[:80]!a})")
        end = member.begin + member.size
    for member in members:
        if member.has_crc and crc32_of(Part(data, member.begin, member.begin + member.size)) != member.crc:
            raise _malformed(name, f"member {member.name[:80]!a} with a wrong CRC")
    return dict(sorted(found.items()))


def _last_archive(data: Data, end: int, name: str) -> tuple[int, list[Member]]:
    """Where the archive that ends at `end` begins, and its members; offsets in it count from there."""
    count, begin_at, end_at, begin = _directory(data, end, name)
    if count > _MAX_MEMBERS or end_at - begin_at > _MAX_DIRECTORY_BYTES:
        raise _malformed(name, f"{count} members, at most {_MAX_MEMBERS} are read")
    return begin, list(_members(data, count, begin_at, end_at, begin, name))


def _members(data: Data, count: int, begin_at: int, end_at: int, archive_at: int, name: str) -> Iterator[Member]:
    directory, offset = data[begin_at:end_at], 0
    for _ in range(count):
        if offset + _ENTRY.size > len(directory):
            raise _malformed(name, "a directory that is cut")
        fields = _ENTRY.unpack_from(directory, offset)
        name_at = offset + _ENTRY.size
        extra_at = name_at + fields[10]
        following = extra_at + fields[11] + fields[12]
        if fields[0] != b"PK\x01\x02" or following > len(directory):
            raise _malformed(name, "a directory that is cut")
        if fields[3] & 1:
            raise _malformed(name, "an encrypted member")
        is_stored = fields[4] == 0
        raw_name = directory[name_at:extra_at]
        extra = directory[extra_at : extra_at + fields[11]]
        size, stored, header = _sizes_64(extra, (fields[9], fields[8], fields[16]), name)
        header += archive_at
        if is_stored and size != stored:
            raise _malformed(name, "a member with two sizes")
        begin = _begin(data, header, raw_name, name)
        if begin + stored > begin_at:
            raise _malformed(name, "a member that ends outside the archive")
        text = raw_name.decode("utf-8", "backslashreplace")
        yield Member(
            name=text,
            header=header,
            begin=begin,
            size=stored,
            crc=fields[7],
            crc_at=begin_at + offset + 16,
            is_stored=is_stored,
        )
        offset = following


def _directory(data: Data, end: int, name: str) -> tuple[int, int, int, int]:
    """Number of entries, begin and end of the central directory, and where its archive begins."""
    at = end - _END.size
    if at < 0:
        raise _malformed(name, "no end of a directory")
    fields = _END.unpack(data[at:end])
    if fields[0] != b"PK\x05\x06" or fields[7] != 0:
        raise _malformed(name, "no end of a directory")
    count, size, offset = fields[4], fields[5], fields[6]
    locator_at = at - _LOCATOR_64.size
    if locator_at >= 0 and data[locator_at : locator_at + 4] == b"PK\x06\x07":
        at = locator_at - _END_64.size
        wide = _END_64.unpack(data[max(at, 0) : locator_at])
        if wide[0] != b"PK\x06\x06":
            raise _malformed(name, "a directory outside the archive")
        count, size, offset = wide[7], wide[8], wide[9]
    begin = at - size - offset
    if begin < 0:
        raise _malformed(name, "a directory outside the archive")
    return count, begin + offset, at, begin


def _sizes_64(extra: bytes, fields: tuple[int, int, int], name: str) -> tuple[int, int, int]:
    """Size, stored size and header's offset, from the 64-bit extra field where the 32-bit ones are full."""
    values = list(fields)
    if _FULL_32 not in values:
        return fields
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            inner = at + 4
            for position, value in enumerate(values):
                if value == _FULL_32:
                    if inner + 8 > min(len(extra), at + 4 + size):
                        break
                    values[position] = struct.unpack_from("<Q", extra, inner)[0]
                    inner += 8
            return values[0], values[1], values[2]
        at += 4 + size
    raise _malformed(name, "a member without its size")


def _begin(data: Data, header: int, raw_name: bytes, name: str) -> int:
    if header + _LOCAL.size > len(data):
        raise _malformed(name, "a member that begins outside the archive")
    fields = _LOCAL.unpack(data[header : header + _LOCAL.size])
    name_at = header + _LOCAL.size
    if fields[0] != b"PK\x03\x04" or data[name_at : name_at + fields[9]] != raw_name:
        raise _malformed(name, "a member whose header is another's")
    return int(name_at + fields[9] + fields[10])


def _malformed(name: str, found: str) -> EvidenceError:
    return EvidenceError(f"{name}: not a whole zip archive: found {found}", _REMEDY)
