"""Pickles, read without unpickling: opcodes are followed on a bounded stack; nothing is ever imported or called.

Built are dicts, lists, tuples, sets, scalars and references to tensors of the layouts that `torch.save` writes.
Anything else becomes a `Call`: the name that an unpickler would import, and its arguments, which are compared like any
value.
Opcodes: https://docs.python.org/3/library/pickletools.html
"""

from __future__ import annotations

import dataclasses
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.documents.digest import Data
from harness.errors import EvidenceError
from harness.evidence.budget import Budget
from harness.evidence.pickled_values import (
    Call,
    Global,
    Listed,
    Mapped,
    StorageRef,
    call,
    key_text,
    name_of,
    storage_of,
)
from harness.evidence.tensor_file import ITEM_BYTES

MAX_PICKLE_BYTES = 256 << 20
_MAX_OPCODES = 8_000_000
_MAX_HEAD_BYTES = 4096
LEGACY_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The end of the first pickle: an integer of ten bytes."""
_LEGACY_VERSION = 1001
_REMEDY = "save it with torch.save from plain dicts, lists, numbers, strings and tensors"


class _Mark:
    """The mark on the stack."""


_MARK = _Mark()


@dataclass(frozen=True, slots=True)
class Pickled:
    """A pickle that was read: its value, its size in bytes, and every storage that it names, by key."""

    value: Any
    size: int
    storages: dict[str, StorageRef]


def read_pickle(data: bytes, name: str, budget: Budget | None = None, *, is_nested: bool = False) -> Pickled:
    """What a pickle describes: None, bool, int, float, complex, str, bytes or the classes of pickled_values.

    Args:
        data: begins with the pickle; more may follow.
        name: of the file, for messages.
        budget: what is left for the file that it is in; one of its own by default.
        is_nested: whether it stands inside of another pickle; then nothing inside of it is read in turn.

    Raises:
        EvidenceError: malformed, too large, or an opcode that torch.save does not write.
    """
    machine = _Machine(name, budget or Budget(name, len(data)), is_nested=is_nested)
    size = 0
    try:
        for count, (opcode, argument, place) in enumerate(pickletools.genops(data)):
            if count > _MAX_OPCODES or (place or 0) > MAX_PICKLE_BYTES:
                raise EvidenceError(f"{name}: a pickle that is larger than what is read", _REMEDY)
            machine.step(opcode.name, argument, place or 0)
            size = (place or 0) + 1
    except (ValueError, OverflowError, EOFError, struct.error) as error:
        raise EvidenceError(f"{name}: malformed pickle ({ascii(str(error))[:100]})", _REMEDY) from None
    return Pickled(machine.result(), size, machine.storages)


@dataclass(frozen=True, slots=True)
class Legacy:
    """A file as torch.save wrote it before 1.6: its value, and the place of each storage's first byte by key."""

    value: Any
    storages: dict[str, int]
    size: int


def is_legacy(data: Data) -> bool:
    """Whether the bytes begin as torch.save wrote them before 1.6; it still does if asked to."""
    return LEGACY_MAGIC in data[:32]


def read_legacy(data: Data, name: str, budget: Budget, *, is_nested: bool = False) -> Legacy:
    """Read such a file: a magic number, a version, the machine's sizes, the value, the storages' keys, the storages.

    Layout: `_legacy_save` of torch/serialization.py.

    Raises:
        EvidenceError: torn, of another byte order, or of another layout.
    """
    at, values = 0, []
    storages: dict[str, StorageRef] = {}
    for limit in (_MAX_HEAD_BYTES, _MAX_HEAD_BYTES, _MAX_HEAD_BYTES, MAX_PICKLE_BYTES, MAX_PICKLE_BYTES):
        found = read_pickle(data[at : at + limit], name, budget, is_nested=is_nested)
        at += found.size
        values.append(found.value)
        storages |= found.storages
    system, root, keys = values[2:]
    if not isinstance(system, Mapped) or system.entries.get("little_endian") is not True:
        raise EvidenceError(f"{name}: written on a machine with another byte order", _REMEDY)
    if values[1] != _LEGACY_VERSION or not isinstance(keys, Listed):
        raise EvidenceError(f"{name}: malformed: not the layout of torch.save before 1.6", _REMEDY)
    places: dict[str, int] = {}
    for key in keys.items:
        storage = storages.get(key) if isinstance(key, str) else None
        num = int.from_bytes(data[at : at + 8], "little")
        size = num * ITEM_BYTES[storage.dtype] if storage is not None else 0
        if storage is None or num != storage.num_elements or at + 8 + size > len(data):
            raise EvidenceError(f"{name}: malformed: a storage is cut or missing", _REMEDY)
        places[storage.key] = at + 8
        at += 8 + size
    return Legacy(root, places, at)


class _Machine:
    """The stack, the memo and one method for each kind of opcode."""

    def __init__(self, name: str, budget: Budget, *, is_nested: bool) -> None:
        self._name, self._budget, self._is_nested = name, budget, is_nested
        self.storages: dict[str, StorageRef] = {}
        self._places: dict[int, tuple[int, bytes]] = {}
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._is_stopped = False

    def step(self, opcode: str, argument: Any, place: int) -> None:
        if opcode in _BYTES_HEADERS:
            self._places[id(argument)] = place + _BYTES_HEADERS[opcode], argument  # kept, so that its id stays its own
        if opcode in _CONSTANTS:
            self._stack.append(_CONSTANTS[opcode])
        elif opcode in _ARGUMENTS:
            self._stack.append(bytes(argument) if isinstance(argument, bytearray) else argument)
        elif opcode in _IGNORED:
            return
        elif (method := _METHODS.get(opcode)) is not None:
            self._budget.spend(opcode in _MAKERS)
            method(self, argument)
        else:
            raise self._error(f"the operation {opcode}")

    def result(self) -> Any:
        if not self._is_stopped or len(self._stack) != 1 or self._stack[0] is _MARK:
            raise self._error("an end without exactly one value")
        return self._stack[0]

    def _error(self, found: str) -> EvidenceError:
        return EvidenceError(f"{self._name}: malformed pickle: {found}", _REMEDY)

    def _pop(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise self._error("an operation on an empty stack")
        return self._stack.pop()

    def _top(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise self._error("an operation on an empty stack")
        return self._stack[-1]

    def _pop_to_mark(self) -> list[Any]:
        position = len(self._stack) - 1
        while position >= 0 and self._stack[position] is not _MARK:
            position -= 1
        if position < 0:
            raise self._error("no mark on the stack")
        items = self._stack[position + 1 :]
        del self._stack[position:]
        return items

    def stop(self, _: Any) -> None:
        self._is_stopped = True

    def mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def pop(self, _: Any) -> None:
        if not self._stack:
            raise self._error("an operation on an empty stack")
        self._stack.pop()

    def pop_mark(self, _: Any) -> None:
        self._pop_to_mark()

    def dup(self, _: Any) -> None:
        self._stack.append(self._top())

    def empty_dict(self, _: Any) -> None:
        self._stack.append(Mapped())

    def empty_list(self, _: Any) -> None:
        self._stack.append(Listed("list"))

    def empty_set(self, _: Any) -> None:
        self._stack.append(Listed("set"))

    def empty_tuple(self, _: Any) -> None:
        self._stack.append(Listed("tuple"))

    def tuple_of(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._stack.append(Listed("tuple", items[::-1]))

    def tuple_from_mark(self, _: Any) -> None:
        self._stack.append(Listed("tuple", self._pop_to_mark()))

    def list_from_mark(self, _: Any) -> None:
        self._stack.append(Listed("list", self._pop_to_mark()))

    def frozen_set(self, _: Any) -> None:
        self._stack.append(Listed("set", self._pop_to_mark()))

    def dict_from_mark(self, _: Any) -> None:
        items = self._pop_to_mark()
        self._stack.append(Mapped())
        self._set_items(items)

    def append(self, _: Any) -> None:
        value = self._pop()
        self._extend([value])

    def appends(self, _: Any) -> None:
        self._extend(self._pop_to_mark())

    def set_item(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def set_items(self, _: Any) -> None:
        self._set_items(self._pop_to_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Listed) and target.kind in ("list", "set"):
            target.items.extend(items)
        elif isinstance(target, Call):
            target.appended.extend(items)
        else:
            raise self._error("items for something that is no list")

    def _set_items(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Call):
            target = target.entries
        if not isinstance(target, Mapped) or len(items) % 2:
            raise self._error("items for something that is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            text = key_text(key)
            if text is None:
                raise self._error("a dict with a key that is no scalar")
            self._budget.spend(1, len(text))
            target.entries[text] = value

    def put(self, index: int) -> None:
        if not 0 <= index <= _MAX_OPCODES:
            raise self._error("a memo index out of range")
        self._memo[index] = self._top()

    def memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._top()

    def get(self, index: int) -> None:
        if index not in self._memo:
            raise self._error("a memo index that was never set")
        self._stack.append(self._memo[index])

    def global_name(self, argument: str) -> None:
        self._stack.append(Global(".".join(argument.split(" ", 1))))

    def stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise self._error("a name that is no string")
        self._stack.append(Global(f"{module}.{name}"))

    def persistent_id(self, _: Any) -> None:
        value = self._pop()
        storage = storage_of(value)
        if storage is None:
            raise self._error("a persistent id that names no storage of torch.save")
        self.storages[storage.key] = storage
        self._stack.append(storage)

    def reduce(self, _: Any) -> None:
        args, function = self._pop(), self._pop()
        self._stack.append(self._inner_storage(function, args) or call(function, args))

    def _inner_storage(self, function: Any, args: Any) -> StorageRef | None:
        """The storage in a tensor that pickle itself wrote: inside of its argument, as torch.save did before 1.6."""
        match function, args:
            case Global(name="torch.storage._load_from_bytes"), Listed(items=[bytes(data)]) if not self._is_nested:
                legacy = read_legacy(data, self._name, self._budget, is_nested=True)
                root = legacy.value
                if not isinstance(root, StorageRef) or root.key not in legacy.storages:
                    raise self._error("a tensor without its storage")
                begin = legacy.storages[root.key]
                inner = data[begin : begin + root.num_elements * ITEM_BYTES[root.dtype]]
                place = self._places.get(id(data))
                return dataclasses.replace(root, data=inner, at=None if place is None else place[0] + begin)
        return None

    def new_object(self, _: Any) -> None:
        args, cls = self._pop(), self._pop()
        self._stack.append(Call(name_of(cls), args))

    def new_object_ex(self, _: Any) -> None:
        kwargs, args, cls = self._pop(), self._pop(), self._pop()
        self._stack.append(Call(name_of(cls), Listed("tuple", [args, kwargs])))

    def object_from_mark(self, _: Any) -> None:
        items = self._pop_to_mark()
        if not items:
            raise self._error("an object without a class")
        self._stack.append(Call(name_of(items[0]), Listed("tuple", items[1:])))

    def instance(self, argument: str) -> None:
        self._stack.append(Call(".".join(argument.split(" ", 1)), Listed("tuple", self._pop_to_mark())))

    def build(self, _: Any) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, Mapped | Call):
            target.state, target.has_state = state, True
        else:
            self._stack[-1] = Call("state", Listed("tuple", [target, state]))


_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_ARGUMENTS = frozenset(
    [
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "UNICODE",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
    ]
)
_BYTES_HEADERS = {"SHORT_BINBYTES": 2, "BINBYTES": 5, "BINBYTES8": 9}
"""The bytes of an opcode before its argument."""
_IGNORED = frozenset(["PROTO", "FRAME"])
_MAKERS = frozenset(
    [
        "EMPTY_DICT",
        "EMPTY_LIST",
        "EMPTY_SET",
        "EMPTY_TUPLE",
        "TUPLE1",
        "TUPLE2",
        "TUPLE3",
        "TUPLE",
        "LIST",
        "FROZENSET",
        "DICT",
        "GLOBAL",
        "STACK_GLOBAL",
        "BINPERSID",
        "REDUCE",
        "NEWOBJ",
        "NEWOBJ_EX",
        "OBJ",
        "INST",
        "BUILD",
    ]
)
"""What makes something that is much larger than the bytes that ask for it."""
_METHODS: dict[str, Callable[[_Machine, Any], None]] = {
    "STOP": _Machine.stop,
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": _Machine.dup,
    "EMPTY_DICT": _Machine.empty_dict,
    "EMPTY_LIST": _Machine.empty_list,
    "EMPTY_SET": _Machine.empty_set,
    "EMPTY_TUPLE": _Machine.empty_tuple,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "TUPLE": _Machine.tuple_from_mark,
    "LIST": _Machine.list_from_mark,
    "FROZENSET": _Machine.frozen_set,
    "DICT": _Machine.dict_from_mark,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "ADDITEMS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.global_name,
    "STACK_GLOBAL": _Machine.stack_global,
    "BINPERSID": _Machine.persistent_id,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.new_object,
    "NEWOBJ_EX": _Machine.new_object_ex,
    "OBJ": _Machine.object_from_mark,
    "INST": _Machine.instance,
    "BUILD": _Machine.build,
}
