"""What a pickle of `torch.save` describes: references to tensors, containers, and calls that are never made.

The layouts are those of torch/_utils.py and torch/serialization.py: https://docs.pytorch.org/docs/stable/notes/serialization.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

_MAX_KEY_DEPTH = 4
_MAX_KEY_PARTS = 16
_MAX_KEY_TEXT = 1 << 16
_NUMBER = re.compile(r"[+-]?(0x[0-9a-f]+|([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?j?)")

STORAGE_DTYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
    "UntypedStorage": "uint8",
}


@dataclass(frozen=True, slots=True)
class Global:
    """A name that an unpickler would import: `torch.float32`."""

    name: str


@dataclass(frozen=True, slots=True)
class StorageRef:
    """A storage of `num_elements` of `dtype`: `data/<key>` of an archive, or `data` where it stands in the pickle.

    `at` is the place of `data` in the pickle, if it is known.
    """

    key: str
    dtype: str
    num_elements: int
    data: bytes | None = field(default=None, repr=False)
    at: int | None = None


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A strided view of a storage; offset and strides count elements."""

    storage: StorageRef
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Mapped:
    """A dict: its entries by the text of the key; `state` is what BUILD gave it."""

    entries: dict[str, Any] = field(default_factory=dict)
    state: Any = None
    has_state: bool = False


@dataclass(slots=True, eq=False)
class Listed:
    """A list, a tuple or a set, by `kind`."""

    kind: str
    items: list[Any] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Call:
    """What would have been an object: never built, but its name, arguments and state are kept."""

    name: str
    args: Any
    state: Any = None
    has_state: bool = False
    appended: list[Any] = field(default_factory=list)
    entries: Mapped = field(default_factory=Mapped)


def key_text(key: Any) -> str | None:
    """The text of a dict's key: a string as it is, unless another kind of key could look like it.

    None for a key that is no scalar, name or tuple of those.
    """
    if isinstance(key, str):
        return f'"{key}"' if _looks_like_another_kind(key) else key
    return _key_text(key, 0)


def _key_text(key: Any, depth: int) -> str | None:
    if isinstance(key, str):
        return ascii(key)
    if key is None or isinstance(key, bool | float | complex | bytes):
        return repr(key)
    if isinstance(key, int):
        return str(key) if abs(key) < 1 << 256 else hex(key)
    if isinstance(key, Global):
        return f"<{key.name}>"
    if isinstance(key, Call) and depth < _MAX_KEY_DEPTH and not key.appended:
        return _object_text(key, depth + 1)
    if isinstance(key, Listed) and key.kind == "tuple" and depth < _MAX_KEY_DEPTH:
        parts = _texts(key.items, depth + 1)
        return None if parts is None else f"({','.join(parts)})"
    return None


def _texts(items: Collection[Any], depth: int) -> list[str] | None:
    """The texts of the parts of a key; None where one has none, or together they are longer than a key can be."""
    if len(items) > _MAX_KEY_PARTS:
        return None
    parts: list[str] = []
    for item in items:
        text = _key_text(item, depth)
        if text is None or sum(map(len, parts)) + len(text) > _MAX_KEY_TEXT:
            return None
        parts.append(text)
    return parts


def _object_text(key: Call, depth: int) -> str | None:
    """The text of an object that is a key, as in the index of a distributed checkpoint."""
    state = key.state.entries if isinstance(key.state, Mapped) else {}
    if key.has_state and not isinstance(key.state, Mapped):
        return None
    parts = _texts((key.args, *state.values()), depth)
    if parts is None:
        return None
    names = [ascii(name) for name in state]
    fields = ",".join(f"{name}={text}" for name, text in zip(names, parts[1:], strict=True))
    return f"<{key.name}{parts[0]}{fields}>"


def _looks_like_another_kind(text: str) -> bool:
    if text in ("", "None", "True", "False", "nan", "inf", "-inf", "nanj", "infj"):
        return True
    return text.startswith(('"', "<", "(", "b'", 'b"')) or _NUMBER.fullmatch(text) is not None


def name_of(value: Any) -> str:
    """The name that an unpickler would import for `value`, or its class in angle brackets."""
    return value.name if isinstance(value, Global | Call) else f"<{type(value).__name__}>"


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _sizes(value: Any) -> tuple[int, ...] | None:
    if isinstance(value, Call) and value.name == "torch.Size" and isinstance(value.args, Listed):
        value = value.args.items[0] if len(value.args.items) == 1 else None
    if not isinstance(value, Listed) or len(value.items) > 64 or not all(_is_size(item) for item in value.items):
        return None
    return tuple(value.items)


def storage_of(value: Any) -> StorageRef | None:
    """The storage that a persistent id of torch.save names; None for any other id."""
    match value:
        case Listed(kind="tuple", items=["storage", Global(name=cls), str(key), str(), int(num_elements), *rest]):
            if rest not in ([], [None]):  # before 1.6 a storage could be a view of another
                return None
            module, _, kind = cls.rpartition(".")
            dtype = STORAGE_DTYPES.get(kind)
            if dtype is None or module not in ("torch", "torch.storage", "torch.cuda") or not _is_size(num_elements):
                return None
            return StorageRef(key, dtype, num_elements)
    return None


def _tensor(storage: Any, dtype: str | None, offset: Any, shape: Any, stride: Any) -> TensorRef | None:
    sizes, strides = _sizes(shape), _sizes(stride)
    if not isinstance(storage, StorageRef) or not _is_size(offset) or sizes is None or strides is None:
        return None
    if len(sizes) != len(strides):
        return None
    return TensorRef(storage, dtype or storage.dtype, offset, sizes, strides)


def _rebuild_tensor_v2(args: list[Any]) -> TensorRef | None:
    # (storage, offset, size, stride, requires_grad, backward_hooks[, metadata]); metadata holds conjugate bits.
    if len(args) not in (6, 7) or (len(args) == 7 and not _is_empty(args[6])):
        return None
    return _tensor(args[0], None, args[1], args[2], args[3])


def _rebuild_tensor_v3(args: list[Any]) -> TensorRef | None:
    # (storage, offset, size, stride, requires_grad, backward_hooks, dtype[, metadata]), the storage untyped.
    if len(args) not in (7, 8) or (len(args) == 8 and not _is_empty(args[7])) or not isinstance(args[6], Global):
        return None
    module, _, dtype = args[6].name.rpartition(".")
    return _tensor(args[0], dtype, args[1], args[2], args[3]) if module == "torch" else None


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, Mapped) and not value.entries and not value.has_state)


def _rebuild_parameter(args: list[Any]) -> TensorRef | None:
    return args[0] if len(args) == 3 and isinstance(args[0], TensorRef) else None


def _rebuild_from_type(args: list[Any]) -> TensorRef | None:
    # (function, type, arguments, state): a tensor with attributes; without any it is that tensor.
    if len(args) != 4 or not isinstance(args[0], Global) or not isinstance(args[2], Listed) or not _is_empty(args[3]):
        return None
    builder = _TENSOR_BUILDERS.get(args[0].name)
    return builder(args[2].items) if builder is not None else None


def _ordered_dict(args: list[Any]) -> Mapped | None:
    return Mapped() if not args else None


def _default_dict(args: list[Any]) -> Mapped | None:
    return Mapped() if len(args) <= 1 else None


def _set_of(args: list[Any]) -> Listed | None:
    if not args:
        return Listed("set")
    return Listed("set", args[0].items) if len(args) == 1 and isinstance(args[0], Listed) else None


def _encode(args: list[Any]) -> bytes | None:
    # How protocol 2 writes bytes: _codecs.encode(text, "latin1").
    if len(args) != 2 or not isinstance(args[0], str) or args[1] not in ("latin1", "latin-1"):
        return None
    try:
        return args[0].encode("latin-1")
    except UnicodeEncodeError:
        return None


def _empty_bytes(args: list[Any]) -> bytes | None:
    return b"" if not args else None


def _complex(args: list[Any]) -> complex | None:
    return complex(args[0], args[1]) if len(args) == 2 and all(isinstance(a, float) for a in args) else None


def _torch_size(args: list[Any]) -> Listed | None:
    return Listed("tuple", args[0].items) if len(args) == 1 and isinstance(args[0], Listed) else None


_TENSOR_BUILDERS: dict[str, Callable[[list[Any]], TensorRef | None]] = {
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor_v2,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
}
_BUILDERS: dict[str, Callable[[list[Any]], Any]] = {
    **_TENSOR_BUILDERS,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    "collections.OrderedDict": _ordered_dict,
    "collections.defaultdict": _default_dict,
    "builtins.set": _set_of,
    "__builtin__.set": _set_of,
    "builtins.frozenset": _set_of,
    "__builtin__.frozenset": _set_of,
    "_codecs.encode": _encode,
    "builtins.bytes": _empty_bytes,
    "__builtin__.bytes": _empty_bytes,
    "builtins.complex": _complex,
    "__builtin__.complex": _complex,
    "torch.Size": _torch_size,
}


def call(function: Any, args: Any) -> Any:
    """The value of `function(*args)` where it is one of the few that are known to be harmless; else a `Call`."""
    if not isinstance(function, Global) or not isinstance(args, Listed) or args.kind != "tuple":
        return Call(name_of(function), args)
    builder = _BUILDERS.get(function.name)
    value = builder(args.items) if builder is not None else None
    return Call(function.name, args) if value is None else value
