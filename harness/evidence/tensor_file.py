"""Files of tensors, opened without running anything in them: `.safetensors`, and archives of `torch.save`.

Formats: https://huggingface.co/docs/safetensors (header, offsets), https://docs.pytorch.org/docs/stable/notes/serialization.html
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.documents.digest import Data, sha256, sha256_of
from harness.errors import EvidenceError
from harness.evidence.pickle_reader import read_pickle
from harness.evidence.pickled_values import Call, Global, Listed, Mapped, StorageRef, TensorRef
from harness.evidence.reader import Part
from harness.evidence.zip_file import Member, read_zip

MAX_HEADER_BYTES = 100_000_000
_DTYPES_BY_BYTES = {
    1: "int8 uint8 bool float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu",
    2: "float16 bfloat16 int16 uint16",
    4: "float32 int32 uint32 complex32",
    8: "float64 int64 uint64 complex64",
    16: "complex128",
}
ITEM_BYTES = {dtype: size for size, dtypes in _DTYPES_BY_BYTES.items() for dtype in dtypes.split()}
_SAFETENSORS_DTYPES = {
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
}
_LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_MAX_DEPTH = 64
_MAX_NODES = 500_000
_MAX_PATH = 2_000
_MAX_TEXT_BYTES = 512 << 20
_MAX_INLINE_TEXT = 1_000
_FREE_BYTES = 1 << 30
_MAX_SPAN_BYTES = 8 << 30
_REMEDY = "the file is torn or was written by something else; if it is neither output nor checkpoint, do not declare it"


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTensor:
    """A strided view of some bytes; offset and strides count elements of `dtype` (torch's name).

    `storage_at` is the place of the storage's first byte in the file.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    storage: Data = field(repr=False)
    storage_at: int
    offset: int
    stride: tuple[int, ...]

    @property
    def item_bytes(self) -> int:
        """The bytes of one element."""
        return ITEM_BYTES[self.dtype]

    @property
    def begin(self) -> int:
        """The place of the first element's first byte in the file."""
        return self.storage_at + self.offset * self.item_bytes

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


def open_safetensors(data: Data, name: str) -> RawContent:
    """Open a `.safetensors` file: little-endian header size, header in JSON, tensors without gaps.

    Raises:
        EvidenceError: cut, an offset out of bounds, tensors that overlap, a name twice, or an unknown dtype.
    """
    size = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else -1
    if not 0 <= size <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise _malformed(name, f"a header of {size} bytes in a file of {len(data)}")
    header = _header(data[8 : 8 + size], name)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _malformed(name, "metadata that is no map of strings")
    body = Part(data, 8 + size, len(data))
    placed = sorted((_safetensor(body, 8 + size, name, key, entry) for key, entry in header.items()), key=_begin)
    end = 0
    for begin, tensor in placed:
        if begin != end:
            raise _malformed(name, f"tensor {tensor.name!a} at {begin}, expected {end}: tensors overlap or leave a gap")
        end = begin + tensor.size_bytes
    if end != len(body):
        raise _malformed(name, f"tensors that end at {end} of {len(body)} bytes")
    values = tuple(sorted((f"__metadata__/{key}", scalar_text(value)) for key, value in metadata.items()))
    tensors = tuple(sorted((tensor for _, tensor in placed), key=lambda tensor: tensor.name))
    return RawContent(format="safetensors", tensors=tensors, values=values, opaque=())


def open_torch(data: Data, name: str) -> RawContent:
    """Open an archive of `torch.save`; tensors and values are named by their path: `optimizer/state/0/exp_avg`.

    Raises:
        EvidenceError: not such an archive, an older format, cut, or a tensor outside its storage.
    """
    if data[: len(_LEGACY_MAGIC)] == _LEGACY_MAGIC:
        problem = f"{name} is in the format that torch.save wrote before version 1.6, which is not read"
        raise EvidenceError(problem, "save it without _use_new_zipfile_serialization=False")
    members = read_zip(data, name)
    pickles = [member for member in members if member.count("/") == 1 and member.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise _malformed(name, f"{len(pickles)} members called <folder>/data.pkl")
    archive = _Archive(name, data, pickles[0].removesuffix("data.pkl"), members)
    archive.check_byteorder()
    root = read_pickle(archive.bytes_of(members[pickles[0]])[:], name)
    archive.visit(root, "", 0)
    archive.add_other_members()
    return archive.content()


def is_zip(data: Data) -> bool:
    """Whether the bytes begin as a zip archive does."""
    return data[:4] == b"PK\x03\x04"


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
        case Global():
            return f"<{_clean(value.name)}>"
    return repr(value)


def path_join(path: str, key: str) -> str:
    """The path of an entry; `/` and `~` in a key are written `~1` and `~0` (RFC 6901)."""
    if not key.isalnum() or not key.isascii():
        key = _clean(key.replace("~", "~0").replace("/", "~1"))
    return f"{path}/{key}" if path else key


class _Archive:
    """One archive of torch.save while its values are visited; everything is bounded."""

    def __init__(self, name: str, view: Data, folder: str, members: Mapping[str, Member]) -> None:
        self._name, self._view, self._folder, self._members = name, view, folder, members
        self._tensors: dict[str, RawTensor] = {}
        self._values: list[tuple[str, str]] = []
        self._opaque: list[tuple[str, str]] = []
        self._used: set[str] = set()
        self._on_path: set[int] = set()
        self._num_nodes = self._num_text = self._num_bytes = 0

    def content(self) -> RawContent:
        tensors = tuple(tensor for _, tensor in sorted(self._tensors.items()))
        values, opaque = tuple(sorted(self._values)), tuple(sorted(self._opaque))
        return RawContent(format="torch", tensors=tensors, values=values, opaque=opaque)

    def bytes_of(self, member: Member) -> Part:
        return Part(self._view, member.begin, member.begin + member.size)

    def check_byteorder(self) -> None:
        member = self._members.get(f"{self._folder}byteorder")
        if member is not None and self.bytes_of(member)[:16] != b"little":
            raise _malformed(self._name, "another byte order than little")

    def add_other_members(self) -> None:
        known = {f"{self._folder}{name}" for name in ("data.pkl", "version", "byteorder")}
        known |= {f"{self._folder}{name}" for name in (".format_version", ".storage_alignment")}
        known.add(f"{self._folder}.data/serialization_id")
        for name, member in self._members.items():
            if name not in known | self._used:
                self._values.append((path_join("member", name), f"bytes:{sha256_of(self.bytes_of(member))}"))

    def visit(self, value: Any, path: str, depth: int) -> None:
        self._num_nodes += 1
        if self._num_nodes > _MAX_NODES or depth > _MAX_DEPTH or len(path) > _MAX_PATH:
            raise _malformed(self._name, "a value that is nested too deeply or too large")
        if isinstance(value, TensorRef):
            self._add_tensor(value, path)
        elif isinstance(value, StorageRef):
            self._add_tensor(TensorRef(value, value.dtype, 0, (value.num_elements,), (1,)), path)
        elif isinstance(value, Mapped | Listed | Call):
            if id(value) in self._on_path:
                raise _malformed(self._name, "a value that contains itself")
            self._on_path.add(id(value))
            self._visit_container(value, path, depth + 1)
            self._on_path.discard(id(value))
        else:
            self._num_text += len(path) + (len(value) if isinstance(value, str | bytes) else 0)
            if self._num_text > _MAX_TEXT_BYTES:
                raise _malformed(self._name, "more text than is read")
            self._values.append((path, scalar_text(value)))

    def _visit_container(self, value: Mapped | Listed | Call, path: str, depth: int) -> None:
        if isinstance(value, Listed):
            items = value.items
            if value.kind == "set" and not any(isinstance(i, Mapped | Listed | Call | TensorRef) for i in items):
                items = sorted(items, key=lambda item: repr(item))
            for index, item in enumerate(items):
                self.visit(item, path_join(path, str(index)), depth)
            if not items:
                self._values.append((path, "[]"))
            return
        if isinstance(value, Call):
            self._opaque.append((path, _clean(value.name)))
            self.visit(value.args, path_join(path, "<arguments>"), depth)
            for index, item in enumerate(value.appended):
                self.visit(item, path_join(path, str(index)), depth)
        entries = value.entries.entries if isinstance(value, Call) else value.entries
        for key, item in entries.items():
            self.visit(item, path_join(path, key), depth)
        if isinstance(value, Mapped) and not entries:
            self._values.append((path, "{}"))
        if value.has_state:
            self.visit(value.state, path_join(path, "<state>"), depth)

    def _add_tensor(self, ref: TensorRef, path: str) -> None:
        member = self._members.get(f"{self._folder}data/{ref.storage.key}")
        if member is None:
            raise _malformed(self._name, f"tensor {path[:80]!a} without its storage")
        self._used.add(member.name)
        if ref.dtype not in ITEM_BYTES:
            raise EvidenceError(f"{self._name}: tensor {path[:80]!a} of dtype {ref.dtype[:40]!a} is not read", _REMEDY)
        item = ITEM_BYTES[ref.dtype]
        last = ref.offset + sum((size - 1) * stride for size, stride in zip(ref.shape, ref.stride, strict=True))
        stored = ref.storage.num_elements * ITEM_BYTES[ref.storage.dtype]
        is_empty = 0 in ref.shape
        if stored != member.size or (not is_empty and (last + 1) * item > member.size) or path in self._tensors:
            raise _malformed(self._name, f"tensor {path[:80]!a} outside its storage")
        self._num_bytes += 0 if is_empty else math.prod(ref.shape) * item
        if self._num_bytes > 4 * len(self._view) + _FREE_BYTES:
            raise _malformed(self._name, "tensors that are much larger than the file")
        tensor = RawTensor(
            name=path,
            dtype=ref.dtype,
            shape=ref.shape,
            storage=self.bytes_of(member),
            storage_at=member.begin,
            offset=0 if is_empty else ref.offset,
            stride=ref.stride,
        )
        if not tensor.is_contiguous and tensor.span_bytes > _MAX_SPAN_BYTES:
            problem = f"{self._name}: tensor {path[:80]!a} is not contiguous, and its elements lie far apart"
            raise EvidenceError(problem, "save tensor.contiguous()")
        self._tensors[path] = tensor


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
        raise _malformed(name, "a header that is nested too deeply") from None
    except ValueError as error:
        raise _malformed(name, f"a header that is no JSON ({ascii(str(error))[:80]})") from None
    if not isinstance(header, dict):
        raise _malformed(name, "a header that is no JSON object")
    return header


def _begin(placed: tuple[int, RawTensor]) -> int:
    return placed[0]


def _safetensor(body: Data, body_at: int, name: str, key: str, entry: Any) -> tuple[int, RawTensor]:
    match entry:
        case {"dtype": str(code), "shape": list(shape), "data_offsets": [int(begin), int(end)], **rest} if not rest:
            pass
        case _:
            raise _malformed(name, f"tensor {key[:80]!a} without dtype, shape and data_offsets")
    dtype = _SAFETENSORS_DTYPES.get(code)
    if dtype is None:
        raise EvidenceError(f"{name}: tensor {key[:80]!a} of dtype {code[:40]!a} is not read", _REMEDY)
    if len(shape) > 64 or not all(type(size) is int and 0 <= size < 1 << 62 for size in shape):
        raise _malformed(name, f"tensor {key[:80]!a} with another shape than a list of sizes")
    if not 0 <= begin <= end <= len(body) or end - begin != math.prod(shape) * ITEM_BYTES[dtype]:
        raise _malformed(name, f"tensor {key[:80]!a} at {begin}..{end}, which is not its size or outside the file")
    stride = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        stride[axis] = stride[axis + 1] * max(shape[axis + 1], 1)
    storage = Part(body, begin, end)
    return begin, RawTensor(
        name=key,
        dtype=dtype,
        shape=tuple(shape),
        storage=storage,
        storage_at=body_at + begin,
        offset=0,
        stride=tuple(stride),
    )


def _clean(text: str) -> str:
    """Text that can be written as UTF-8: lone surrogates escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _malformed(name: str, found: str) -> EvidenceError:
    return EvidenceError(f"{name}: malformed: found {found}", _REMEDY)
