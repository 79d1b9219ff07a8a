"""Where the contents of a blob come from, when an archive is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.images.oci_documents import Blob, blob_of

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """A blob, and what gives its contents in chunks, as often as it is asked."""

    blob: Blob
    chunks: Callable[[], Iterator[bytes]]


def bytes_source(data: bytes) -> Source:
    """Bytes that are at hand."""
    return Source(blob_of(data), lambda: iter((data,)))


def file_source(path: Path, digest: str) -> Source:
    """A file of which the sha256 (`sha256:<hex>`) is known; it is hashed again as it is written.

    Raises:
        OSError: it cannot be read.
    """
    return Source(Blob(digest, path.stat().st_size), lambda: _chunks(path))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk
