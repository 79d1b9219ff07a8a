"""Content: what a file holds, apart from how it was written; two files with equal content may differ in their bytes.

`torch.save` and safetensors do not write equal tensors to equal bytes, so files are compared by a digest over the
sorted names, dtypes, shapes and bytes of their tensors and over their other values.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from harness.documents.digest import Data, Digest, canonical_json, chunks, sha256, sha256_of
from harness.errors import EvidenceError
from harness.evidence.tensor_digest import TensorDigest
from harness.evidence.tensor_file import (
    RawContent,
    RawTensor,
    is_zip,
    open_safetensors,
    open_torch,
    path_join,
    scalar_text,
)

Format = Literal["safetensors", "torch", "json", "jsonl", "bytes"]
MAX_JSON_BYTES = 512 << 20
_MAX_DEPTH = 64
_MAX_VALUES = 4_000_000
_MIN_ELEMENTS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRecord:
    """One tensor of a file.

    Attributes:
        digest: its sm128, as a ledger holds it.
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
    """

    format: str
    tensors: tuple[TensorRecord, ...]
    values: tuple[tuple[str, str], ...]
    opaque: tuple[tuple[str, str], ...]

    @property
    def size_bytes(self) -> int:
        """The bytes of all its tensors."""
        return sum(tensor.size_bytes for tensor in self.tensors)

    def without(self, volatile: Iterable[str]) -> Content:
        """The same content less everything under a volatile key."""
        keys = frozenset(volatile)
        if not keys:
            return self
        return Content(
            format=self.format,
            tensors=tuple(tensor for tensor in self.tensors if not is_volatile(tensor.name, keys)),
            values=tuple(entry for entry in self.values if not is_volatile(entry[0], keys)),
            opaque=tuple(entry for entry in self.opaque if not is_volatile(entry[0], keys)),
        )

    def content_digest(self, volatile: Iterable[str] = ()) -> Digest:
        """The sha256 over the format and the sorted names, dtypes, shapes, sha256 of bytes, values and classes."""
        kept = self.without(volatile)
        lines = [canonical_json(["tensor", t.name, t.dtype, list(t.shape), t.sha256.hex]) for t in kept.tensors]
        lines += [canonical_json(["value", path, text]) for path, text in kept.values]
        lines += [canonical_json(["opaque", path, name]) for path, name in kept.opaque]
        return sha256(canonical_json(kept.format) + b"\n" + b"\n".join(sorted(lines)))


def read_content(name: str, data: Data, volatile: Iterable[str] = ()) -> Content:
    """Read a file's content; the name decides how.

    Args:
        name: `.safetensors`; `.pt`, `.pth`, `.ckpt`, `.bin` (archives of torch.save); `.json`; `.jsonl`; else bytes.
        data: the whole file; tensors are read in place, one after the other.
        volatile: keys that may differ: a name that a path passes through, or a pattern for a whole path.

    Raises:
        EvidenceError: a file of tensors is torn, malformed or hostile.
    """
    keys = frozenset(volatile)
    if format_of(name, data) in ("safetensors", "torch"):
        return digest_content(open_tensors(name, data)).without(keys)
    suffix = _suffix(name)
    if suffix in ("json", "jsonl") and len(data) <= MAX_JSON_BYTES:
        content = _json_content(suffix, data[:], keys)
        if content is not None:
            return content
    return Content(format="bytes", tensors=(), values=(("", f"bytes:{sha256_of(data)}"),), opaque=())


def format_of(name: str, data: Data) -> Format:
    """How a file of this name is read."""
    suffix = _suffix(name)
    if suffix == "safetensors":
        return "safetensors"
    if suffix in ("pt", "pth") or (suffix in ("ckpt", "bin") and is_zip(data)):
        return "torch"
    return "json" if suffix == "json" else "jsonl" if suffix == "jsonl" else "bytes"


def open_tensors(name: str, data: Data) -> RawContent:
    """A file of tensors, with views of their bytes.

    Raises:
        EvidenceError: it holds no tensors, or cannot be read.
    """
    kind = format_of(name, data)
    if kind not in ("safetensors", "torch"):
        raise EvidenceError(f"{name} is no file of tensors", "name a .safetensors file or an archive of torch.save")
    return open_safetensors(data, name) if kind == "safetensors" else open_torch(data, name)


def digest_content(raw: RawContent) -> Content:
    """Digest every tensor, both ways, one after the other."""
    tensors = tuple(_record(tensor) for tensor in raw.tensors)
    return Content(format=raw.format, tensors=tensors, values=raw.values, opaque=raw.opaque)


def is_volatile(path: str, keys: frozenset[str]) -> bool:
    """Whether one of the path's parts is a volatile key, or the whole path matches one as a pattern."""
    if not keys.isdisjoint(path.split("/")):
        return True
    return any(fnmatch.fnmatchcase(path, key) for key in keys if "/" in key or "*" in key)


def _record(tensor: RawTensor) -> TensorRecord:
    """Every digest of a tensor, in one pass over its bytes."""
    data, hasher, digest, precision = tensor.data(), hashlib.sha256(), TensorDigest(), _Precision(tensor.dtype)
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


def _json_content(suffix: str, data: bytes, volatile: frozenset[str]) -> Content | None:
    """The values of a JSON file, or None where it is none; then its bytes are what counts."""
    try:
        text = data.decode("utf-8")
        rows = _rows(text) if suffix == "jsonl" else [("", json.loads(text))]
        values = _unique_rows(rows, volatile) if suffix == "jsonl" else _flatten(rows[0][1], "", volatile)
    except (ValueError, RecursionError):
        return None
    return Content(format=suffix, tensors=(), values=tuple(sorted(values)), opaque=())


def _rows(text: str) -> list[tuple[str, Any]]:
    """Each line's value, called `step=<n>` where it has an integer step, else `row=<i>`."""
    rows: list[tuple[str, Any]] = []
    num_unnamed = 0
    for line in text.split("\n"):
        if not line.strip():
            continue
        row = json.loads(line)
        step = row.get("step") if isinstance(row, dict) else None
        if type(step) is int and abs(step) < 1 << 62:
            rows.append((f"step={step}", row))
        else:
            num_unnamed += 1
            rows.append((f"row={num_unnamed}", row))
    return rows


def _unique_rows(rows: list[tuple[str, Any]], volatile: frozenset[str]) -> list[tuple[str, str]]:
    """The rows' values. A step that is written again with the same values, as after a resume, counts once."""
    seen: dict[str, list[tuple[tuple[str, str], ...]]] = {}
    values: list[tuple[str, str]] = []
    for key, row in rows:
        flat = tuple(_flatten(row, "", volatile))
        copies = seen.setdefault(key, [])
        if flat in copies:
            continue
        copies.append(flat)
        prefix = key if len(copies) == 1 else f"{key}#{len(copies)}"
        values += [(f"{prefix}/{path}" if path else prefix, text) for path, text in flat]
        if len(values) > _MAX_VALUES:
            raise ValueError("too many values")
    return values


def _flatten(root: Any, path: str, volatile: frozenset[str], depth: int = 0) -> list[tuple[str, str]]:
    if path and is_volatile(path, volatile):
        return []
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(root, dict) and root:
        pairs = [(path_join(path, _key(key)), value) for key, value in root.items()]
    elif isinstance(root, list) and root:
        pairs = [(path_join(path, str(index)), value) for index, value in enumerate(root)]
    else:
        return [(path, "{}" if root == {} else "[]" if root == [] else scalar_text(root))]
    values = [entry for key, value in pairs for entry in _flatten(value, key, volatile, depth + 1)]
    if len(values) > _MAX_VALUES:
        raise ValueError("too many values")
    return values


def _key(key: Any) -> str:
    return key if isinstance(key, str) else json.dumps(key)


def _suffix(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[2].lower()
