"""Pickles, read without unpickling: opcodes are followed on a bounded stack; nothing is ever imported or called.

Built are dicts, lists, tuples, sets, scalars and references to tensors of the layouts that `torch.save` writes.
Anything else becomes a `Call`: the name that an unpickler would import, and its arguments, which are compared like any
value.
Opcodes: https://docs.python.org/3/library/pickletools.html
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from typing import Any

from harness.errors import EvidenceError
from harness.evidence.pickled_values import Call, Global, Listed, Mapped, call, key_text, name_of, storage_of

MAX_PICKLE_BYTES = 256 << 20
_MAX_OPCODES = 8_000_000
_REMEDY = "save it with torch.save from plain dicts, lists, numbers, strings and tensors"


class _Mark:
    """The mark on the stack."""


_MARK = _Mark()


def read_pickle(data: bytes, name: str) -> Any:
    """The value that a pickle describes, as None, bool, int, float, complex, str, bytes or the classes of this module.

    Raises:
        EvidenceError: malformed, too large, or an opcode that torch.save does not write.
    """
    if len(data) > MAX_PICKLE_BYTES:
        raise EvidenceError(f"{name}: a pickle of {len(data)} bytes, at most {MAX_PICKLE_BYTES} are read", _REMEDY)
    machine = _Machine(name)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count > _MAX_OPCODES:
                raise EvidenceError(f"{name}: a pickle of more than {_MAX_OPCODES} operations", _REMEDY)
            machine.step(opcode.name, argument)
    except (ValueError, OverflowError, EOFError, struct.error) as error:
        raise EvidenceError(f"{name}: malformed pickle ({ascii(str(error))[:100]})", _REMEDY) from None
    return machine.result()


class _Machine:
    """The stack, the memo and one method for each kind of opcode."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._is_stopped = False

    def step(self, opcode: str, argument: Any) -> None:
        if opcode in _CONSTANTS:
            self._stack.append(_CONSTANTS[opcode])
        elif opcode in _ARGUMENTS:
            self._stack.append(bytes(argument) if isinstance(argument, bytearray) else argument)
        elif opcode in _IGNORED:
            return
        elif (method := _METHODS.get(opcode)) is not None:
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
        self._stack.append(storage)

    def reduce(self, _: Any) -> None:
        args, function = self._pop(), self._pop()
        self._stack.append(call(function, args))

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
_IGNORED = frozenset(["PROTO", "FRAME"])
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
