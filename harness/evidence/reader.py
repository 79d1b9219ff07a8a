"""Bytes that are read where they are needed: a file may be larger than memory, and nobody has to trust it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from harness.documents.digest import Data, chunks


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes of `data` from `begin` to `end`."""

    data: Data
    begin: int
    end: int

    def __len__(self) -> int:
        return self.end - self.begin

    def __getitem__(self, place: slice, /) -> bytes:
        begin, end, _ = place.indices(len(self))
        return self.data[self.begin + begin : self.begin + max(begin, end)]

    def __bytes__(self) -> bytes:
        return self[:]


@dataclass(frozen=True, slots=True)
class Patched:
    """The bytes of `data`, but for those that `patch` has from a place on."""

    data: Data
    at: int
    patch: bytes

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, place: slice, /) -> bytes:
        begin, end, _ = place.indices(len(self))
        found = bytearray(self.data[begin:end])
        for offset, byte in enumerate(self.patch, start=self.at - begin):
            if 0 <= offset < len(found):
                found[offset] = byte
        return bytes(found)

    def __bytes__(self) -> bytes:
        return self[:]


def crc32_of(data: Data) -> int:
    """Its CRC-32, as zip archives have it."""
    crc = 0
    for chunk in chunks(data):
        crc = zlib.crc32(chunk, crc)
    return crc
