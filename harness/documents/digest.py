"""Digests: sha256 of bytes and files' contents, and `sm128` of tensors; a digest always names its algorithm.

`sm128` is specified in pipelines/README.md and computed there by the recorder with torch; this is the host's own
implementation with numpy. Both are held to the same golden vectors.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

_HEX_DIGITS = {"sha256": 64, "sm128": 32}
_CHUNK_WORDS = 1 << 16  # two 64-bit scratch arrays of it stay in a core's cache
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_MASK = (1 << 64) - 1
_RAMP = np.arange(1, _CHUNK_WORDS + 1, dtype=np.uint64) * np.uint64(_GOLDEN)


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


def tensor_digest(data: bytes | memoryview, dtype: str, shape: Iterable[int]) -> Digest:
    """The `sm128` of a tensor.

    Args:
        data: its contiguous little-endian bytes.
        dtype: torch's name without prefix: `float32`, `bfloat16`, `int64`, `bool` ...
        shape: its sizes; empty for a scalar.
    """
    first, second = _lanes(memoryview(data).cast("B"))
    sizes = "x".join(str(size) for size in shape)
    text = f"{dtype}|{sizes}|{len(data)}|{first:016x}{second:016x}"
    return Digest("sm128", hashlib.sha256(text.encode("ascii")).hexdigest()[:32])


def stream_root(entries: Iterable[tuple[str, str, Iterable[int], str]]) -> Digest:
    """The root of a stream: sha256 over its sorted lines `name|dtype|shape|digest`."""
    lines = sorted(f"{n}|{t}|{'x'.join(str(d) for d in s)}|{g}\n" for n, t, s, g in entries)
    return sha256("".join(lines).encode())


def _lanes(data: memoryview) -> tuple[int, int]:
    """Two 64-bit sums over the mixed words; position enters the mix, so order counts."""
    first = second = 0
    scratch, shifted = np.empty((2, min(_CHUNK_WORDS, -(-len(data) // 4))), np.uint64)
    for offset in range(0, len(data), _CHUNK_WORDS * 4):
        chunk = data[offset : offset + _CHUNK_WORDS * 4]
        words = np.frombuffer(bytes(chunk) + b"\0" * (-len(chunk) % 4) if len(chunk) % 4 else chunk, dtype="<u4")
        x, y = scratch[: len(words)], shifted[: len(words)]
        np.add(_RAMP[: len(words)], np.uint64(offset // 4 * _GOLDEN & _MASK), out=x)
        x += words
        for shift, factor in ((30, _MIX_1), (27, _MIX_2), (31, None)):
            x ^= np.right_shift(x, np.uint64(shift), out=y)
            if factor is not None:
                x *= factor
        first = (first + int(x.sum())) & _MASK
        second = (second + int(np.multiply(x, x, out=y).sum())) & _MASK
    return first, second
