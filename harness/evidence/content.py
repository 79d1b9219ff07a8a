"""Content: what a file holds, apart from how it was written; two files with equal content may differ in their bytes.

`torch.save` and safetensors do not write equal tensors to equal bytes, so files are compared by a digest over the
sorted names, dtypes, shapes and bytes of their tensors and over their other values.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.documents.digest import Data, Digest, canonical_json, chunks, sha256, sha256_of
from harness.errors import EvidenceError
from harness.evidence.budget import Budget
from harness.evidence.json_file import read_json, volatile_key
from harness.evidence.numpy_file import is_npy, open_npy, open_npz
from harness.evidence.pickle_reader import is_legacy
from harness.evidence.safetensors_file import is_safetensors, open_safetensors
from harness.evidence.tensor_digest import ALGORITHM, TensorDigest
from harness.evidence.tensor_file import RawContent, RawTensor, malformed
from harness.evidence.torch_file import folder_of, open_archives, open_legacy, open_pickle
from harness.evidence.zip_file import is_zip, read_zips

MAX_JSON_BYTES = 512 << 20
_PIECE_BYTES = 1 << 20
_GZIP_CHUNK_BYTES = 16 << 10  # of a file of many small members, the rest is copied for each
_PROTOCOLS = (b"\x02", b"\x03", b"\x04", b"\x05")
_MIN_ELEMENTS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRecord:
    """One tensor of a file.

    Attributes:
        digest: that of its elements, as a ledger holds it.
        sha256: that of its contiguous bytes.
        precision: the narrowest of its dtype, float32, float16 and bfloat16 that holds every element exactly; the dtype
            itself where there are fewer than 16 elements or only zeros. For people; it is not compared.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    digest: Digest
    sha256: Digest
    size_bytes: int
    precision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a file holds.

    Attributes:
        format: how the file was read; `bytes` has one value, the sha256 of the whole file.
        tensors: sorted by name.
        values: (path, canonical text) of everything that is no tensor, sorted.
        opaque: (path, class) of objects that were not built; their arguments and state are among the values.
        left_out: how many values each volatile key took out, sorted; of JSON only.
        doubt: why the bytes of a JSON document were compared instead of its values; "" where they were not.
    """

    format: str
    tensors: tuple[TensorRecord, ...]
    values: tuple[tuple[str, str], ...]
    opaque: tuple[tuple[str, str], ...]
    left_out: tuple[tuple[str, int], ...] = ()
    doubt: str = ""

    @property
    def size_bytes(self) -> int:
        """The bytes of all its tensors."""
        return sum(tensor.size_bytes for tensor in self.tensors)

    @property
    def is_empty(self) -> bool:
        """Whether volatile keys left nothing that could be compared."""
        return bool(self.left_out) and not self.values

    def content_digest(self) -> Digest:
        """The sha256 over the format and the sorted names, dtypes, shapes, sha256 of bytes, values and classes."""
        lines = [canonical_json(["tensor", t.name, t.dtype, list(t.shape), t.sha256.hex]) for t in self.tensors]
        lines += [canonical_json(["value", path, text]) for path, text in self.values]
        lines += [canonical_json(["opaque", path, name]) for path, name in self.opaque]
        return sha256(canonical_json(self.format) + b"\n" + b"\n".join(sorted(lines)))


def read_content(
    name: str, data: Data, volatile: Iterable[str] = (), algorithm: str = ALGORITHM, known: Digest | None = None
) -> Content:
    """Read a file's content; its first bytes say what it is, and its name where it holds JSON.

    Args:
        name: of the file.
        data: the whole file; tensors are read in place, one after the other.
        volatile: keys of JSON documents that may differ: a name that a path passes through, or a pattern for a whole
            path. They take out nothing of any other file.
        algorithm: of the tensors' digests.
        known: the file's sha256, if somebody computed it already.

    Raises:
        EvidenceError: a file of tensors is torn, malformed or hostile.
    """
    raw = open_file(name, data)
    if raw is not None:
        tensors = tuple(_record(tensor, algorithm) for tensor in raw.tensors)
        return Content(format=raw.format, tensors=tensors, values=raw.values, opaque=raw.opaque)
    suffix, doubt = _suffix(name), ""
    if suffix in ("json", "jsonl") and len(data) <= MAX_JSON_BYTES:
        try:
            found = read_json(data[:], frozenset(volatile), Budget(name, len(data)), has_rows=suffix == "jsonl")
            left_out = tuple(sorted(found.left_out.items()))
            values = tuple(sorted(found.values))
            return Content(format=suffix, tensors=(), values=values, opaque=(), left_out=left_out)
        except (ValueError, RecursionError, EvidenceError) as error:
            doubt = error.problem if isinstance(error, EvidenceError) else str(error)[:120]
    unpacked = _gunzipped(data, Budget(name, len(data))) if data[:3] == b"\x1f\x8b\x08" else None
    kind, digest = ("bytes", known or sha256_of(data)) if unpacked is None else ("gzip", unpacked)
    return Content(format=kind, tensors=(), values=(("", f"bytes:{digest}"),), opaque=(), doubt=doubt)


def open_file(name: str, data: Data) -> RawContent | None:
    """A file of tensors, with views of their bytes; None where its first bytes are of no format that is known.

    Raises:
        EvidenceError: it is torn, malformed or hostile.
    """
    suffix = _suffix(name)
    found: RawContent | None = None
    if suffix == "safetensors" or is_safetensors(data):
        return open_safetensors(data, name)
    if is_legacy(data):
        return open_legacy(data, name)
    if is_zip(data):
        archives = read_zips(data, name)
        if folder_of(archives[0]) is not None:
            return open_archives(data, name, archives)
        found = open_npz(data, name, archives[0]) if len(archives) == 1 else None
    elif is_npy(data):
        found = open_npy(data, name)
    elif data[:1] == b"\x80" and data[1:2] in _PROTOCOLS:
        found = open_pickle(data, name)
    if found is None and suffix in ("pt", "pth"):
        raise malformed(name, "neither an archive of torch.save (a folder with data.pkl) nor a pickle")
    return found


def is_volatile(path: str, keys: frozenset[str]) -> bool:
    """Whether one of the path's parts is a volatile key, or the whole path matches one as a pattern."""
    return volatile_key(path, keys) is not None


def _gunzipped(data: Data, budget: Budget) -> Digest | None:
    """The sha256 of what was compressed, for gzip writes the time beside it; None if it is torn or too large."""
    hasher, unpacker = hashlib.sha256(), zlib.decompressobj(31)
    try:
        for chunk in chunks(data, _GZIP_CHUNK_BYTES):
            rest = chunk
            while rest:
                if unpacker.eof:
                    unpacker = zlib.decompressobj(31)
                piece = unpacker.decompress(rest, _PIECE_BYTES)
                rest = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
                hasher.update(piece)
                budget.spend(0, len(piece))
    except (zlib.error, EvidenceError):
        return None
    return Digest("sha256", hasher.hexdigest()) if unpacker.eof else None


def _record(tensor: RawTensor, algorithm: str) -> TensorRecord:
    """Every digest of a tensor, in one pass over its bytes."""
    data, hasher, digest, precision = tensor.data(), hashlib.sha256(), TensorDigest(algorithm), _Precision(tensor.dtype)
    for chunk in chunks(data):
        hasher.update(chunk)
        digest.update(chunk)
        precision.update(chunk)
    return TensorRecord(
        name=tensor.name,
        dtype=tensor.dtype,
        shape=tensor.shape,
        digest=digest.digest(tensor.dtype, tensor.shape),
        sha256=Digest("sha256", hasher.hexdigest()),
        size_bytes=len(data),
        precision=precision.narrowest,
    )


class _Precision:
    """The narrowest dtype that holds every element exactly; a few elements, or zeros alone, say nothing."""

    def __init__(self, dtype: str) -> None:
        self._dtype, self._num, self._has_value = dtype, 0, False
        narrower = {"float64": ("bfloat16", "float16", "float32"), "float32": ("bfloat16", "float16")}
        self._fitting = list(narrower.get(dtype, ()))

    def update(self, data: bytes) -> None:
        if not self._fitting:
            return
        values = np.frombuffer(data, dtype="<f4" if self._dtype == "float32" else "<f8")
        self._num += len(values)
        self._has_value = self._has_value or bool((values != 0).any())
        # The first few settle nearly every tensor.
        for part in (values[:64], values[64:]):
            self._fitting = [name for name in self._fitting if _holds(part, name)]

    @property
    def narrowest(self) -> str:
        return self._fitting[0] if self._fitting and self._num >= _MIN_ELEMENTS and self._has_value else self._dtype


def _holds(values: np.ndarray[Any, Any], narrow: str) -> bool:
    with np.errstate(all="ignore"):
        single = values.astype("<f4")
        rounded = single.astype("<f2").astype("<f4") if narrow == "float16" else single
        if narrow == "bfloat16" and (single.view("<u4") & 0xFFFF).any():
            return False
        return np.array_equal(rounded.astype(values.dtype), values, equal_nan=True)


def _suffix(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[2].lower()
