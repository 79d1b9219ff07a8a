"""What a file of tensors holds, whatever its format: views of its bytes, and the text of its other values."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.documents.digest import Data, sha256
from harness.errors import EvidenceError
from harness.evidence.pickled_values import Global
from harness.evidence.reader import Part

_DTYPES_BY_BYTES = {
    1: "int8 uint8 bool float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu float4_e2m1fn_x2"
    " bits8 bits1x8 bits2x4 bits4x2 qint8 quint8 quint4x2 quint2x4",
    2: "float16 bfloat16 int16 uint16 bits16",
    4: "float32 int32 uint32 complex32 qint32",
    8: "float64 int64 uint64 complex64",
    16: "complex128",
}
ITEM_BYTES = {dtype: size for size, dtypes in _DTYPES_BY_BYTES.items() for dtype in dtypes.split()}
_MAX_INLINE_TEXT = 1_000
_NAN = "7ff8000000000000"
REMEDY = "the file is torn or was written by something else; if it is neither output nor checkpoint, do not declare it"


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTensor:
    """A strided view of some bytes; offset and strides count elements of `dtype` (torch's name).

    `storage_at` is the place of the storage's first byte in the file; None if that is not known.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    storage: Data = field(repr=False)
    storage_at: int | None
    offset: int
    stride: tuple[int, ...]

    @property
    def item_bytes(self) -> int:
        """The bytes of one element."""
        return ITEM_BYTES[self.dtype]

    @property
    def begin(self) -> int | None:
        """The place of the first element's first byte in the file, if it has one there."""
        return None if self.storage_at is None else self.storage_at + self.offset * self.item_bytes

    @property
    def size_bytes(self) -> int:
        """The bytes of its elements, written out contiguously."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]

    @property
    def span_bytes(self) -> int:
        """The bytes from its first element to the end of its last, and what lies between them."""
        last = sum((size - 1) * stride for size, stride in zip(self.shape, self.stride, strict=True))
        return (last + 1) * self.item_bytes

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie one after the other in the storage."""
        expected = 1
        for size, stride in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if size != 1 and stride != expected:
                return 0 in self.shape
            expected *= size
        return True

    def data(self) -> Data:
        """Its contiguous little-endian bytes; a tensor that is not contiguous is copied out of its storage."""
        item = ITEM_BYTES[self.dtype]
        if self.is_contiguous:
            return Part(self.storage, self.offset * item, self.offset * item + self.size_bytes)
        begin = self.offset * item
        flat = np.frombuffer(self.storage[begin : begin + self.span_bytes], dtype=np.dtype((np.void, item)))
        strides = tuple(stride * item for stride in self.stride)
        view = np.lib.stride_tricks.as_strided(flat, shape=self.shape, strides=strides, writeable=False)
        return view.tobytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class RawContent:
    """What a file holds: its tensors, its other values as (path, text), and the names of objects never built."""

    format: str
    tensors: tuple[RawTensor, ...]
    values: tuple[tuple[str, str], ...]
    opaque: tuple[tuple[str, str], ...]


def contiguous_stride(shape: Sequence[int]) -> tuple[int, ...]:
    """The stride, in elements, of a tensor whose elements lie one after the other in row-major order."""
    stride = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        stride[axis] = stride[axis + 1] * max(shape[axis + 1], 1)
    return tuple(stride)


def scalar_text(value: Any) -> str:
    """The canonical text of a value that is no container; floats as the shortest decimal that reads back equal."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value) if abs(value) < 1 << 256 else hex(value)
        case str() if len(value) <= _MAX_INLINE_TEXT:
            return json.dumps(value)
        case str():
            return f"text:{sha256(value.encode('utf-8', 'surrogatepass'))}"
        case bytes():
            return f"bytes:{sha256(value)}"
        case float() if math.isnan(value) and (bits := struct.pack(">d", value).hex()) != _NAN:
            return f"nan:{bits}"
        case Global():
            return f"<{clean(value.name)}>"
    return repr(value)


def path_join(path: str, key: str) -> str:
    """The path of an entry; `/` and `~` in a key are written `~1` and `~0` (RFC 6901)."""
    if not key.isalnum() or not key.isascii():
        key = clean(key.replace("~", "~0").replace("/", "~1"))
    return f"{path}/{key}" if path else key


def clean(text: str) -> str:
    """Text that can be written as UTF-8: lone surrogates escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def malformed(name: str, found: str) -> EvidenceError:
    """That a file is not what its format says."""
    return EvidenceError(f"{name}: malformed: found {found}", REMEDY)
