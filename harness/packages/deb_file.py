"""Debian packages as files: the `ar` container, its control record and its data, read without running
anything.

Format: deb(5). Only what Debian's archive really uses is read: xz, gzip or no compression.
"""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from harness.errors import UsageError

_MAGIC = b"!<arch>\n"
_HEADER = 60
_CHUNK = 1 << 20
MAX_UNPACKED_BYTES = 16 << 30


def unpack_data(package: Path, target: Path, max_bytes: int = MAX_UNPACKED_BYTES) -> None:
    """Write the package's decompressed `data.tar` to a file.

    Raises:
        UsageError: it is not a Debian package, is torn, or is larger than `max_bytes` when unpacked.
    """
    with package.open("rb") as stream, target.open("wb") as output:
        written = 0
        for chunk in _decompressed(stream, package.name, "data.tar"):
            written += len(chunk)
            if written > max_bytes:
                problem = f"{package.name} unpacks to more than {max_bytes} bytes"
                raise UsageError(problem, "use a smaller package")
            output.write(chunk)


def read_control(package: Path) -> str:
    """The package's control record (`Package: ...`, one field a line).

    Raises:
        UsageError: it is not a Debian package, is torn, or has no such record.
    """
    with package.open("rb") as stream:
        archive = b"".join(_decompressed(stream, package.name, "control.tar"))
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as members:
            for member in members:
                content = members.extractfile(member) if member.name.strip("./") == "control" else None
                if content:
                    return content.read().decode("utf-8", "replace")
    except (tarfile.TarError, EOFError) as error:
        raise _torn(package.name, str(error)) from error
    raise _torn(package.name, "no control record")


def _decompressed(stream: BinaryIO, name: str, member: str) -> Iterator[bytes]:
    offset, size, full_name = _find(stream, name, member)
    section = cast(BinaryIO, io.BufferedReader(_Section(stream, offset, size)))
    suffix = full_name.removeprefix(member)
    if suffix == ".xz":
        return _chunks(cast(BinaryIO, lzma.open(section)), name)
    if suffix == ".gz":
        return _chunks(cast(BinaryIO, gzip.open(section)), name)
    if suffix == "":
        return _chunks(section, name)
    raise UsageError(f"{name}: {full_name} is compressed in a way that is not supported", "use a package of Debian's")


def _find(stream: BinaryIO, name: str, member: str) -> tuple[int, int, str]:
    """Offset, size and full name of the member of the `ar` archive that begins with `member`."""
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise UsageError(f"{name} is not a Debian package", "check what was downloaded")
    end = stream.seek(0, io.SEEK_END)
    offset = len(_MAGIC)
    while offset + _HEADER <= end:
        stream.seek(offset)
        header = stream.read(_HEADER)
        try:
            found = header[:16].decode("ascii").rstrip(" /")
            size = int(header[48:58])
        except ValueError as error:
            raise _torn(name, "a member's header cannot be read") from error
        start = offset + _HEADER
        if header[58:] != b"`\n" or size < 0 or start + size > end:
            raise _torn(name, f"member {found!r} reaches beyond the end")
        if found.startswith(member):
            return start, size, found
        offset = start + size + size % 2
    raise _torn(name, f"no {member}")


def _torn(name: str, how: str) -> UsageError:
    return UsageError(f"{name} is torn, or not a Debian package: {how}", "fetch it again")


def _chunks(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """What a stream decompresses to; a torn stream is an error that names the package."""
    while True:
        try:
            chunk = stream.read(_CHUNK)
        except (lzma.LZMAError, EOFError, OSError) as error:
            raise _torn(name, str(error)) from error
        if not chunk:
            return
        yield chunk


class _Section(io.RawIOBase):
    """A window into a file, read from its beginning."""

    def __init__(self, stream: BinaryIO, offset: int, size: int) -> None:
        self._stream = stream
        self._left = size
        stream.seek(offset)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._stream.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)
