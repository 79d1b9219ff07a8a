"""`.npy` files and archives of them (`numpy.savez`): arrays in place; what holds Python objects is not read.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from harness.documents.digest import Data
from harness.evidence.reader import Part
from harness.evidence.tensor_file import ITEM_BYTES, RawContent, RawTensor, contiguous_stride, malformed
from harness.evidence.zip_file import Archive

_MAX_HEADER_BYTES = 1 << 16
_READERS: dict[tuple[int, int], Callable[[Any], tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def is_npy(data: Data) -> bool:
    """Whether the bytes begin as a `.npy` file does."""
    return data[:6] == b"\x93NUMPY"


def open_npy(data: Data, name: str) -> RawContent | None:
    """Open a `.npy` file; None where torch has no such dtype.

    Raises:
        EvidenceError: it is cut.
    """
    tensor = _array(data, 0, name, "")
    return None if tensor is None else RawContent(format="numpy", tensors=(tensor,), values=(), opaque=())


def open_npz(data: Data, name: str, archive: Archive) -> RawContent | None:
    """Open an archive of `.npy` files; None for any other archive, and for one that is compressed.

    Raises:
        EvidenceError: an array is cut.
    """
    if not archive or not all(key.endswith(".npy") and member.is_stored for key, member in archive.items()):
        return None
    found = [
        _array(Part(data, member.begin, member.begin + member.size), member.begin, name, key.removesuffix(".npy"))
        for key, member in archive.items()
    ]
    tensors = tuple(tensor for tensor in found if tensor is not None)
    if len(tensors) != len(found):
        return None
    return RawContent(format="numpy", tensors=tensors, values=(), opaque=())


def _array(data: Data, at: int, name: str, key: str) -> RawTensor | None:
    head = io.BytesIO(data[:_MAX_HEADER_BYTES])
    try:
        read = _READERS.get(np.lib.format.read_magic(head))
        if read is None:
            return None
        shape, is_fortran, dtype = read(head)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    is_plain = dtype.kind in "biufc" and dtype.byteorder in "<|=" and dtype.name in ITEM_BYTES
    if not is_plain or len(shape) > 64 or not all(0 <= size < 1 << 62 for size in shape):
        return None
    begin = head.tell()
    stride = contiguous_stride(shape[::-1])[::-1] if is_fortran else contiguous_stride(shape)
    storage = Part(data, begin, len(data))
    tensor = RawTensor(
        name=key, dtype=dtype.name, shape=shape, storage=storage, storage_at=at + begin, offset=0, stride=stride
    )
    if tensor.size_bytes != len(storage):
        raise malformed(name, f"an array of {len(storage)} bytes, expected {tensor.size_bytes}")
    return tensor
