"""What torch.save, torch.jit.save and pickle wrote, followed opcode by opcode: nothing in it is run.

Formats: https://docs.pytorch.org/docs/stable/notes/serialization.html
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from harness.documents.digest import Data, sha256_of
from harness.errors import EvidenceError
from harness.evidence.budget import Budget
from harness.evidence.pickle_reader import MAX_PICKLE_BYTES, read_legacy, read_pickle
from harness.evidence.pickled_values import Call, Listed, Mapped, StorageRef, TensorRef
from harness.evidence.reader import Part
from harness.evidence.tensor_file import (
    ITEM_BYTES,
    REMEDY,
    RawContent,
    RawTensor,
    clean,
    malformed,
    path_join,
    scalar_text,
)
from harness.evidence.zip_file import Archive

_MAX_DEPTH = 64
_MAX_PATH = 2_000
_FREE_BYTES = 256 << 20
_MAX_SPAN_BYTES = 8 << 30
# Made anew at each save: a random name of the save, and the folder's absolute path.
_ONE_TIME = {"torch.distributed.checkpoint.metadata.StorageMeta": ("checkpoint_id", "save_id", "load_id")}

Storage = tuple[Data, int | None]
"""Its bytes, and the place of the first one in the file."""


def folder_of(archive: Archive) -> str | None:
    """The folder in an archive of torch.save that holds everything; None for any other archive."""
    found = [name for name in archive if name.count("/") == 1 and name.endswith("/data.pkl")]
    return found[0].removesuffix("data.pkl") if len(found) == 1 else None


def open_archives(data: Data, name: str, archives: list[Archive]) -> RawContent:
    """Open archives of torch.save; tensors and values are named by their path: `optimizer/state/0/exp_avg`.

    Of several in a row, as in a `.distcp` file, the paths begin with the number of the archive.

    Raises:
        EvidenceError: cut, of another byte order, or a tensor outside its storage.
    """
    reader = _Reader(name, Budget(name, len(data)), len(data))
    kind = "torch"
    for number, archive in enumerate(archives):
        folder = folder_of(archive)
        if folder is None:
            raise malformed(name, "an archive that torch.save did not write")
        if f"{folder}constants.pkl" in archive:
            kind = "torchscript"
        _read_archive(reader, data, archive, folder, "" if len(archives) == 1 else str(number))
    return reader.content(kind)


def open_legacy(data: Data, name: str) -> RawContent:
    """Open what torch.save wrote before 1.6.

    Raises:
        EvidenceError: torn, or of another layout.
    """
    budget = Budget(name, len(data))
    legacy = read_legacy(data, name, budget)
    if legacy.size != len(data):
        raise malformed(name, f"{len(data) - legacy.size} bytes behind the last storage")

    def storage(ref: StorageRef) -> Storage | None:
        begin = legacy.storages.get(ref.key)
        end = (begin or 0) + ref.num_elements * ITEM_BYTES[ref.dtype]
        return None if begin is None else (Part(data, begin, end), begin)

    reader = _Reader(name, budget, len(data))
    reader.visit(legacy.value, "", 0, storage)
    return reader.content("torch")


def open_pickle(data: Data, name: str) -> RawContent | None:
    """Open what pickle wrote; None where the bytes only begin as a pickle does (joblib puts arrays in between).

    Raises:
        EvidenceError: it is larger than what is read.
    """
    if len(data) > MAX_PICKLE_BYTES:
        raise malformed(name, f"a pickle of {len(data)} bytes, at most {MAX_PICKLE_BYTES} are read")
    try:
        budget = Budget(name, len(data))
        found = read_pickle(data[:], name, budget)
        if found.size != len(data):
            return None
        reader = _Reader(name, budget, len(data), is_pickle=True)
        reader.visit(found.value, "", 0, lambda _: None)
    except EvidenceError:
        return None
    return reader.content("pickle")


def _read_archive(reader: _Reader, data: Data, archive: Archive, folder: str, path: str) -> None:
    """Visit everything that an archive holds; members that nothing names (TorchScript's code) count by their bytes."""

    def part(member_name: str) -> Storage | None:
        member = archive.get(f"{folder}{member_name}")
        if member is None:
            return None
        if not member.is_stored:
            raise malformed(reader.name, "a compressed member")
        used.add(member.name)
        return Part(data, member.begin, member.begin + member.size), member.begin

    known = ("data.pkl", "version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id")
    used = {f"{folder}{name}" for name in known}
    order, pickled = part("byteorder"), part("data.pkl")
    if order is not None and order[0][:16] != b"little":
        raise malformed(reader.name, "another byte order than little")
    assert pickled is not None  # the folder was found by it
    root = read_pickle(pickled[0][:], reader.name, reader.budget).value
    reader.visit(root, path, 0, lambda ref: part(f"data/{ref.key}"))
    for name, member in archive.items():
        if name not in used:
            digest = sha256_of(Part(data, member.begin, member.begin + member.size))
            reader.values.append((path_join(path_join(path, "member"), name.removeprefix(folder)), f"bytes:{digest}"))


class _Reader:
    """The values of one file while they are visited; everything is bounded."""

    def __init__(self, name: str, budget: Budget, size: int, *, is_pickle: bool = False) -> None:
        self.name, self.budget, self._size, self._is_pickle = name, budget, size, is_pickle
        self.values: list[tuple[str, str]] = []
        self._tensors: dict[str, RawTensor] = {}
        self._opaque: list[tuple[str, str]] = []
        self._on_path: set[int] = set()
        self._num_bytes = 0

    def content(self, kind: str) -> RawContent:
        tensors = tuple(tensor for _, tensor in sorted(self._tensors.items()))
        values, opaque = tuple(sorted(self.values)), tuple(sorted(self._opaque))
        return RawContent(format=kind, tensors=tensors, values=values, opaque=opaque)

    def visit(self, value: Any, path: str, depth: int, storage: Callable[[StorageRef], Storage | None]) -> None:
        self.budget.spend(1, len(path))
        if depth > _MAX_DEPTH or len(path) > _MAX_PATH:
            raise malformed(self.name, "a value that is nested too deeply")
        if isinstance(value, StorageRef):
            value = TensorRef(value, value.dtype, 0, (value.num_elements,), (1,))
        if isinstance(value, TensorRef):
            ref = value.storage
            self._add_tensor(
                value, path, (ref.data, ref.at if self._is_pickle else None) if ref.data is not None else storage(ref)
            )
        elif isinstance(value, Mapped | Listed | Call):
            if id(value) in self._on_path:
                raise malformed(self.name, "a value that contains itself")
            self._on_path.add(id(value))
            for item, at in self._inside(value, path):
                self.visit(item, at, depth + 1, storage)
            self._on_path.discard(id(value))
        else:
            self.budget.spend(0, len(value) if isinstance(value, str | bytes) else 0)
            self.values.append((path, scalar_text(value)))

    def _inside(self, value: Mapped | Listed | Call, path: str) -> Iterator[tuple[Any, str]]:
        """What a container holds, with its paths; that it is empty is a value of its own."""
        if isinstance(value, Listed):
            items = value.items
            if value.kind == "set" and not any(isinstance(i, Mapped | Listed | Call | TensorRef) for i in items):
                items = sorted(items, key=lambda item: repr(item))
            if not items:
                self.values.append((path, "[]"))
            yield from ((item, path_join(path, str(index))) for index, item in enumerate(items))
            return
        if isinstance(value, Call):
            self._opaque.append((path, clean(value.name)))
            yield value.args, path_join(path, "<arguments>")
            yield from ((item, path_join(path, str(index))) for index, item in enumerate(value.appended))
        entries = value.entries.entries if isinstance(value, Call) else value.entries
        yield from ((item, path_join(path, key)) for key, item in entries.items())
        if isinstance(value, Mapped) and not entries:
            self.values.append((path, "{}"))
        if value.has_state:
            yield _lasting(value), path_join(path, "<state>")

    def _add_tensor(self, ref: TensorRef, path: str, storage: Storage | None) -> None:
        if storage is None:
            raise malformed(self.name, f"tensor {path[:80]!a} without its storage")
        if ref.dtype not in ITEM_BYTES:
            raise EvidenceError(f"{self.name}: tensor {path[:80]!a} of dtype {ref.dtype[:40]!a} is not read", REMEDY)
        data, at = storage
        item = ITEM_BYTES[ref.dtype]
        last = ref.offset + sum((size - 1) * stride for size, stride in zip(ref.shape, ref.stride, strict=True))
        stored = ref.storage.num_elements * ITEM_BYTES[ref.storage.dtype]
        is_empty = 0 in ref.shape
        if stored != len(data) or (not is_empty and (last + 1) * item > len(data)) or path in self._tensors:
            raise malformed(self.name, f"tensor {path[:80]!a} outside its storage")
        self._num_bytes += 0 if is_empty else math.prod(ref.shape) * item
        if self._num_bytes > 4 * self._size + _FREE_BYTES:
            raise malformed(self.name, "tensors that are much larger than the file")
        tensor = RawTensor(
            name=path,
            dtype=ref.dtype,
            shape=ref.shape,
            storage=data,
            storage_at=at,
            offset=0 if is_empty else ref.offset,
            stride=ref.stride,
        )
        if not tensor.is_contiguous and tensor.span_bytes > _MAX_SPAN_BYTES:
            problem = f"{self.name}: tensor {path[:80]!a} is not contiguous, and its elements lie far apart"
            raise EvidenceError(problem, "save tensor.contiguous()")
        self._tensors[path] = tensor


def _lasting(value: Mapped | Call) -> Any:
    """The state of an object less what is made anew at each save."""
    state = value.state
    names = _ONE_TIME.get(value.name, ()) if isinstance(value, Call) else ()
    if not names or not isinstance(state, Mapped):
        return state
    return Mapped(entries={key: item for key, item in state.entries.items() if key not in names})
