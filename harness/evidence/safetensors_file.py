"""`.safetensors` files: little-endian header size, header in JSON, tensors without gaps.

Format: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

from harness.documents.digest import Data, canonical_json
from harness.errors import EvidenceError
from harness.evidence.reader import Part
from harness.evidence.tensor_file import (
    ITEM_BYTES,
    REMEDY,
    RawContent,
    RawTensor,
    contiguous_stride,
    malformed,
    scalar_text,
)

_MAX_HEADER_BYTES = 100_000_000
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F4": "float4_e2m1fn_x2",
}
_PACKED = {"F6_E2M3": 6, "F6_E3M2": 6}
"""Bits of an element."""


def is_safetensors(data: Data) -> bool:
    """Whether the bytes begin as such a file does: the size of a header that fits, and a brace."""
    size = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    return 2 <= size <= min(_MAX_HEADER_BYTES, len(data) - 8) and data[8:9] == b"{"


def open_safetensors(data: Data, name: str) -> RawContent:
    """Open such a file.

    Raises:
        EvidenceError: cut, an offset out of bounds, tensors that overlap, a name twice, or an unknown dtype.
    """
    size = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else -1
    if not 0 <= size <= min(_MAX_HEADER_BYTES, len(data) - 8):
        raise malformed(name, f"a header of {size} bytes in a file of {len(data)}")
    header = _header(data[8 : 8 + size], name)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise malformed(name, "metadata that is no map of strings")
    body = Part(data, 8 + size, len(data))
    placed = sorted((_safetensor(body, 8 + size, name, key, entry) for key, entry in header.items()), key=_begin)
    end = 0
    for begin, tensor in placed:
        if begin != end:
            raise malformed(name, f"tensor {tensor.name!a} at {begin}, expected {end}: tensors overlap or leave a gap")
        end = begin + tensor.size_bytes
    if end != len(body):
        raise malformed(name, f"tensors that end at {end} of {len(body)} bytes")
    texts = [(f"__metadata__/{key}", scalar_text(value)) for key, value in metadata.items()]
    texts += [
        (f"__dtype__/{key}", canonical_json([entry["dtype"], entry["shape"]]).decode())
        for key, entry in header.items()
        if entry["dtype"] in _PACKED
    ]
    values = tuple(sorted(texts))
    tensors = tuple(sorted((tensor for _, tensor in placed), key=lambda tensor: tensor.name))
    return RawContent(format="safetensors", tensors=tensors, values=values, opaque=())


def _header(raw: bytes, name: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            raise ValueError("a key twice")
        return entries

    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
        json.dumps(header, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise malformed(name, "a header that is nested too deeply") from None
    except ValueError as error:
        raise malformed(name, f"a header that is no JSON ({ascii(str(error))[:80]})") from None
    if not isinstance(header, dict):
        raise malformed(name, "a header that is no JSON object")
    return header


def _begin(placed: tuple[int, RawTensor]) -> int:
    return placed[0]


def _safetensor(body: Data, body_at: int, name: str, key: str, entry: Any) -> tuple[int, RawTensor]:
    match entry:
        case {"dtype": str(code), "shape": list(shape), "data_offsets": [int(begin), int(end)], **rest} if not rest:
            pass
        case _:
            raise malformed(name, f"tensor {key[:80]!a} without dtype, shape and data_offsets")
    if len(shape) > 64 or not all(type(size) is int and 0 <= size < 1 << 62 for size in shape):
        raise malformed(name, f"tensor {key[:80]!a} with another shape than a list of sizes")
    dtype = _DTYPES.get(code)
    if code == "F4" and shape:  # the header counts halves of a byte, torch counts bytes
        shape = [*shape[:-1], shape[-1] // 2] if shape[-1] % 2 == 0 else [1 << 62]
    elif code in _PACKED:  # torch has no such dtype: its bytes as they are
        dtype, shape = "uint8", [-(-math.prod(shape) * _PACKED[code] // 8)]
    if dtype is None:
        raise EvidenceError(f"{name}: tensor {key[:80]!a} of dtype {code[:40]!a} is not read", REMEDY)
    if not 0 <= begin <= end <= len(body) or end - begin != math.prod(shape) * ITEM_BYTES[dtype]:
        raise malformed(name, f"tensor {key[:80]!a} at {begin}..{end}, which is not its size or outside the file")
    storage = Part(body, begin, end)
    return begin, RawTensor(
        name=key,
        dtype=dtype,
        shape=tuple(shape),
        storage=storage,
        storage_at=body_at + begin,
        offset=0,
        stride=contiguous_stride(shape),
    )
