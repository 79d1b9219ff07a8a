"""`sm128`, the digest of a tensor that ledgers hold, and the root of a stream of them.

It is specified in pipelines/README.md, where the recorder computes it with torch; this is the host's own implementation
with numpy. Both are held to the same golden vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from harness.documents.digest import Data, Digest, chunks, sha256

_CHUNK_WORDS = 1 << 16  # two 64-bit scratch arrays of it stay in a core's cache
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_MASK = (1 << 64) - 1
_RAMP = np.arange(1, _CHUNK_WORDS + 1, dtype=np.uint64) * np.uint64(_GOLDEN)


class TensorDigest:
    """The `sm128` of a tensor whose bytes come in pieces, each but the last of a multiple of four bytes."""

    def __init__(self) -> None:
        self._size = self._first = self._second = 0
        self._scratch, self._shifted = np.empty((2, _CHUNK_WORDS), np.uint64)

    def update(self, data: bytes) -> None:
        """The next of its contiguous little-endian bytes."""
        view = memoryview(data)
        for begin in range(0, len(view), _CHUNK_WORDS * 4):
            self._add(view[begin : begin + _CHUNK_WORDS * 4])

    def digest(self, dtype: str, shape: Iterable[int]) -> Digest:
        """The digest.

        Args:
            dtype: torch's name without prefix: `float32`, `bfloat16`, `int64`, `bool` ...
            shape: its sizes; empty for a scalar.
        """
        sizes = "x".join(str(size) for size in shape)
        text = f"{dtype}|{sizes}|{self._size}|{self._first:016x}{self._second:016x}"
        return Digest("sm128", hashlib.sha256(text.encode("ascii")).hexdigest()[:32])

    def _add(self, chunk: memoryview) -> None:
        """Two 64-bit sums over the mixed words; position enters the mix, so order counts."""
        words = np.frombuffer(bytes(chunk) + b"\0" * (-len(chunk) % 4) if len(chunk) % 4 else chunk, dtype="<u4")
        x, y = self._scratch[: len(words)], self._shifted[: len(words)]
        np.add(_RAMP[: len(words)], np.uint64(self._size // 4 * _GOLDEN & _MASK), out=x)
        x += words
        for shift, factor in ((30, _MIX_1), (27, _MIX_2), (31, None)):
            x ^= np.right_shift(x, np.uint64(shift), out=y)
            if factor is not None:
                x *= factor
        self._first = (self._first + int(x.sum())) & _MASK
        self._second = (self._second + int(np.multiply(x, x, out=y).sum())) & _MASK
        self._size += len(chunk)


def tensor_digest(data: Data, dtype: str, shape: Iterable[int]) -> Digest:
    """The `sm128` of a tensor of which all bytes are at hand."""
    found = TensorDigest()
    for chunk in chunks(data):
        found.update(chunk)
    return found.digest(dtype, shape)


def stream_root(entries: Iterable[tuple[str, str, Iterable[int], str]]) -> Digest:
    """The root of a stream: sha256 over its sorted lines `name|dtype|shape|digest`."""
    lines = sorted(f"{n}|{t}|{'x'.join(str(d) for d in s)}|{g}\n" for n, t, s, g in entries)
    return sha256("".join(lines).encode())
