"""`ml128`, the digest of a tensor that ledgers hold, `sm128`, which older ones hold, and the root of a stream of them.

They are specified in pipelines/README.md, where the recorder computes them with torch; this is the host's own
implementation with numpy. Both are held to the same golden vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from harness.documents.digest import Data, Digest, chunks, sha256

ALGORITHM = "ml128"
"""What is recorded today."""
ALGORITHMS = (ALGORITHM, "sm128")

_BLOCK_WORDS = 1024
_CHUNK_WORDS = 1 << 16  # two 64-bit scratch arrays of it stay in a core's cache
_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_RAMP = np.arange(1, _CHUNK_WORDS + 1, dtype=np.uint64) * np.uint64(_GOLDEN)


def _mixed(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The finalizer of splitmix64, in place."""
    shifted = np.empty_like(x)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, None)):
        x ^= np.right_shift(x, np.uint64(shift), out=shifted)
        if factor is not None:
            x *= np.uint64(factor)
    return x


_HALVES = _mixed(_RAMP[:_BLOCK_WORDS].copy()).view("<u4").astype(np.uint64).reshape(-1, 2)
_FACTORS = [np.ascontiguousarray(_HALVES[:, half]) | np.uint64(1) for half in (0, 1)]


class TensorDigest:
    """The digest of a tensor whose bytes come in pieces, each but the last of a multiple of 4096 bytes."""

    def __init__(self, algorithm: str = ALGORITHM) -> None:
        self._algorithm = algorithm
        self._size = self._num_mixed = self._first = self._second = 0

    def update(self, data: bytes) -> None:
        """The next of its contiguous little-endian bytes."""
        view = memoryview(data)
        unit = 4 * _BLOCK_WORDS if self._algorithm == ALGORITHM else 4
        for begin in range(0, len(view), _CHUNK_WORDS * 4):
            chunk = view[begin : begin + _CHUNK_WORDS * 4]
            words = np.frombuffer(bytes(chunk) + b"\0" * (-len(chunk) % unit) if len(chunk) % unit else chunk, "<u4")
            self._mix(_condensed(words) if self._algorithm == ALGORITHM else words)
        self._size += len(view)

    def digest(self, dtype: str, shape: Iterable[int]) -> Digest:
        """The digest.

        Args:
            dtype: torch's name without prefix: `float32`, `bfloat16`, `int64`, `bool` ...
            shape: its sizes; empty for a scalar.
        """
        sizes = "x".join(str(size) for size in shape)
        text = f"{dtype}|{sizes}|{self._size}|{self._first:016x}{self._second:016x}"
        return Digest(self._algorithm, hashlib.sha256(text.encode("ascii")).hexdigest()[:32])

    def _mix(self, words: np.ndarray[Any, Any]) -> None:
        """Two 64-bit sums over the mixed words; position enters the mix, so order counts."""
        x = _RAMP[: len(words)] + np.uint64(self._num_mixed * _GOLDEN & _MASK)
        x += words
        _mixed(x)
        self._first = (self._first + int(x.sum())) & _MASK
        self._second = (self._second + int((x * x).sum())) & _MASK
        self._num_mixed += len(words)


def _condensed(words: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The four words of two sums of products for each 1024 words."""
    blocks = words.reshape(-1, _BLOCK_WORDS).astype(np.uint64)
    return np.stack([np.einsum("ij,j->i", blocks, factors) for factors in _FACTORS], axis=1).view("<u4").reshape(-1)


def tensor_digest(data: Data, dtype: str, shape: Iterable[int], algorithm: str = ALGORITHM) -> Digest:
    """The digest of a tensor of which all bytes are at hand."""
    found = TensorDigest(algorithm)
    for chunk in chunks(data):
        found.update(chunk)
    return found.digest(dtype, shape)


def stream_root(entries: Iterable[tuple[str, str, Iterable[int], str]]) -> Digest:
    """The root of a stream: sha256 over its sorted lines `name|dtype|shape|digest`."""
    lines = sorted(f"{n}|{t}|{'x'.join(str(d) for d in s)}|{g}\n" for n, t, s, g in entries)
    return sha256("".join(lines).encode())
