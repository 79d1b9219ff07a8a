"""The records of a tracking file, and the fields of a message in one: TFRecord, LevelDB's log, Protocol Buffers.

Formats: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details (CRC-32C of RFC 3720, masked),
https://github.com/google/leveldb/blob/main/doc/log_format.md (wandb puts 7 bytes before it and uses zlib's CRC-32),
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from harness.errors import EvidenceError

MAX_FILE_BYTES = 256 << 20
WANDB_HEADER = b":W&B\xe1\xbe\x00"  # a name, a magic number, and 0 for the version
_MAX_RECORD_BYTES = MAX_FILE_BYTES
_BLOCK_BYTES = 32768
_CHUNK_HEADER_BYTES = 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_REMEDY = "the file was damaged after it was written, or is not what its name says: run the training again"
_CASTAGNOLI = 0x82F63B78


@dataclass(frozen=True, slots=True, kw_only=True)
class Framed:
    """The whole records of a file.

    Attributes:
        records: where each begins in the file, and its bytes.
        torn_bytes: length of the torn end, from where its record begins.
    """

    records: tuple[tuple[int, bytes], ...]
    torn_bytes: int


def damaged(name: str, offset: int, what: str) -> EvidenceError:
    """The error of a file that is damaged at an offset."""
    return EvidenceError(f"{name}, byte {offset}: {what}", _REMEDY)


def require_readable(data: bytes, name: str) -> None:
    """Refuse what is too large to be read in a review.

    Raises:
        EvidenceError: it is.
    """
    if len(data) > MAX_FILE_BYTES:
        raise EvidenceError(f"{name} has {len(data)} bytes, more than {MAX_FILE_BYTES} are not read", "log less often")


def _table() -> tuple[int, ...]:
    rows = []
    for row in range(256):
        for _ in range(8):
            row = (row >> 1) ^ (_CASTAGNOLI if row & 1 else 0)
        rows.append(row)
    return tuple(rows)


_TABLE = _table()


def masked_crc32c(data: bytes) -> int:
    """The checksum of TFRecord: CRC-32C, rotated by 15 bits, plus a constant."""
    crc, table = 0xFFFFFFFF, _TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def tf_records(data: bytes, name: str) -> Framed:
    """Read a TFRecord file: length and its checksum, bytes and their checksum.

    Raises:
        EvidenceError: a checksum is wrong, or a record claims to be larger than any file that is read.
    """
    require_readable(data, name)
    found, at = [], 0
    while len(data) - at >= 12:
        length, length_crc = struct.unpack_from("<QI", data, at)
        if masked_crc32c(data[at : at + 8]) != length_crc:
            raise damaged(name, at, "the checksum of a record's length is wrong")
        if length > _MAX_RECORD_BYTES:
            raise damaged(name, at, f"a record claims to have {length} bytes")
        end = at + 12 + length
        if end + 4 > len(data):
            break
        record = data[at + 12 : end]
        if masked_crc32c(record) != struct.unpack_from("<I", data, end)[0]:
            raise damaged(name, at, "the checksum of a record is wrong")
        found.append((at, record))
        at = end + 4
    return Framed(records=tuple(found), torn_bytes=len(data) - at)


def wandb_records(data: bytes, name: str) -> Framed:
    """Read a `.wandb` file: LevelDB's log behind a header of its own.

    Raises:
        EvidenceError: the header is another, a checksum is wrong, or the pieces of a record do not fit together.
    """
    require_readable(data, name)
    if data[: len(WANDB_HEADER)] != WANDB_HEADER[: len(data)]:
        raise damaged(name, 0, "no header of a .wandb file of version 0")
    if len(data) < len(WANDB_HEADER):
        return Framed(records=(), torn_bytes=len(data))
    found: list[tuple[int, bytes]] = []
    pieces: list[bytes] = []
    begin = at = len(WANDB_HEADER)
    while at < len(data):
        left = _BLOCK_BYTES - at % _BLOCK_BYTES
        if left < _CHUNK_HEADER_BYTES:
            if any(data[at : at + left]):
                raise damaged(name, at, "the end of a block is not zero")
            at += min(left, len(data) - at)
            begin = begin if pieces else at
            continue
        piece = _piece(data, at, left, name)
        if piece is None:
            break
        kind, body = piece
        if (kind in (_FULL, _FIRST)) != (not pieces):
            raise damaged(name, at, "the pieces of a record do not follow each other")
        pieces.append(body)
        at += _CHUNK_HEADER_BYTES + len(body)
        if kind in (_FULL, _LAST):
            found.append((begin, b"".join(pieces)))
            pieces, begin = [], at
    return Framed(records=tuple(found), torn_bytes=len(data) - begin)


def _piece(data: bytes, at: int, left: int, name: str) -> tuple[int, bytes] | None:
    """One piece of a record: its kind and bytes; None where the file ends inside it."""
    if len(data) - at < _CHUNK_HEADER_BYTES:
        return None
    crc, length, kind = struct.unpack_from("<IHB", data, at)
    if not _FULL <= kind <= _LAST or length > left - _CHUNK_HEADER_BYTES:
        raise damaged(name, at, f"a piece of kind {kind} with {length} bytes, and its block has room for {left - 7}")
    start = at + _CHUNK_HEADER_BYTES
    if start + length > len(data):
        return None
    body = data[start : start + length]
    if zlib.crc32(body, zlib.crc32(bytes((kind,)))) != crc:
        raise damaged(name, at, "the checksum of a piece is wrong")
    return kind, body


class Malformed(Exception):
    """A message that is none; whoever knows which file it is in makes an error of it."""


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message in their order: number, and an integer (varint) or bytes (all other kinds).

    Raises:
        Malformed: it does not follow the wire format.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise Malformed("a field with number 0")
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise Malformed(f"field {number} is of the unknown kind {kind}")
        if length > len(message) - at:
            raise Malformed(f"field {number} goes beyond its message")
        yield number, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer of at most 64 bits, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise Malformed("an integer goes beyond its message")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise Malformed("an integer has more than 10 bytes")


def parts(message: bytes, number: int) -> Iterator[bytes]:
    """The values of a field that holds messages, texts or bytes.

    Raises:
        Malformed: the field holds an integer.
    """
    for found, value in fields(message):
        if found == number:
            if isinstance(value, int):
                raise Malformed(f"field {number} is an integer")
            yield value


def part(message: bytes, number: int) -> bytes:
    """The last value of such a field, which is the one that counts; empty where there is none."""
    last = b""
    for value in parts(message, number):
        last = value
    return last


def integer(message: bytes, number: int) -> int:
    """The last value of a field that is a signed 64-bit integer; 0 where there is none.

    Raises:
        Malformed: the field holds bytes.
    """
    last = 0
    for found, value in fields(message):
        if found == number:
            if not isinstance(value, int):
                raise Malformed(f"field {number} is no integer")
            last = value
    return last - (1 << 64) if last >> 63 else last
