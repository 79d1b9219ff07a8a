"""Digests: a digest always names its algorithm, `sha256` of bytes, `ml128` (`sm128` in older ledgers) of tensors."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

CHUNK_BYTES = 1 << 20
_HEX_DIGITS = {"sha256": 64, "ml128": 32, "sm128": 32}


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A digest and the algorithm that made it; `Digest.parse(str(d)) == d`."""

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @property
    def short(self) -> str:
        """The first 12 hex digits, for people."""
        return self.hex[:12]

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `algorithm:hex`.

        Raises:
            ValueError: unknown algorithm, wrong length or not lower-case hex.
        """
        algorithm, _, digits = text.partition(":")
        expected = _HEX_DIGITS.get(algorithm)
        if expected is None or not re.fullmatch(r"[0-9a-f]{%d}" % expected, digits):
            raise ValueError(f"not a digest: {text[:80]!r}")
        return cls(algorithm, digits)


def sha256(data: bytes | memoryview) -> Digest:
    """The sha256 of some bytes."""
    return Digest("sha256", hashlib.sha256(data).hexdigest())


def canonical_json(value: Any) -> bytes:
    """The one encoding that is digested: sorted keys, no spaces, ASCII; NaN and infinities are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


class Data(Protocol):
    """A number of bytes, of which slices are read when they are asked for; `bytes` is one."""

    def __len__(self) -> int:
        """How many bytes there are."""

    def __getitem__(self, place: slice, /) -> bytes:
        """The bytes between two places.

        Raises:
            EvidenceError: they cannot be read, or are not there any more.
        """

    def __bytes__(self) -> bytes:
        """All of it."""


def chunks(data: Data, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """All of it, piece by piece; each but the last has `size` bytes."""
    return (data[begin : begin + size] for begin in range(0, len(data), size))


def sha256_of(data: Data) -> Digest:
    """Its sha256."""
    hasher = hashlib.sha256()
    for chunk in chunks(data):
        hasher.update(chunk)
    return Digest("sha256", hasher.hexdigest())
