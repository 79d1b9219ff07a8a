"""The tensor digest `ml128`: 64-bit integer sums that C, numpy, torch on a CPU and torch on a GPU agree on.

Every 4096 bytes become two sums of products, 16 bytes; these are mixed and summed. That second half alone is `sm128`,
which ledgers had before: it is computed where a replay has to be compared with such a one.

Hashing is split in two so that a GPU is never waited for in the middle of a step: `launch` starts the arithmetic on
the device where a tensor lives, `Pending.result` brings the sums over, one transfer per device. On a CPU machine code
reads the tensors where they lie (`native`). On a GPU, and where that code is missing, tensors are packed: the words of
many small tensors are summed in one go; a large tensor goes chunk by chunk, so the scratch memory is bounded (1 MiB on
a CPU, about 100 MiB on a GPU) whatever its size.
"""

import functools
import hashlib
import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from _harness_recorder import native

try:
    import numpy
except ImportError:  # torch works without numpy, and so does the digest, only slower
    numpy = None  # type: ignore[assignment]

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
SHIFTS = (30, 27, 31)
BLOCK_WORDS = 1024
ALGORITHM = os.environ.get("HARNESS_DIGEST") or "ml128"
UNIT_BYTES = 4 * BLOCK_WORDS if ALGORITHM == "ml128" else 4
"""Zeros after a tensor's bytes, up to a multiple of so many, change nothing."""
CHUNK_WORDS_CPU = 1 << 16  # two 64-bit scratch arrays of it stay in a core's cache
CHUNK_WORDS_DEVICE = 1 << 21
_JOINABLE = "float16 bfloat16 float32 float64 complex64 complex128 int8 uint8 int16 int32 int64 bool"
JOINABLE = frozenset(getattr(torch, name) for name in _JOINABLE.split())
machine_code, _why_not = native.load() if ALGORITHM == "ml128" else (None, "computes another digest")

Value: TypeAlias = "torch.Tensor | bytes"
"""What can be hashed: a tensor, or the UTF-8 bytes of canonical JSON."""


class Entry(NamedTuple):
    """One line of a stream: dtype (torch's name, or `json`), shape (`()` for json), digest `ml128:<hex>`."""

    dtype: str
    shape: tuple[int, ...]
    digest: str


class Header(NamedTuple):
    """What an entry's digest is of, but for its bits: as the entry shows it, its size, and as the digest begins."""

    dtype: str
    shape: tuple[int, ...]
    num_bytes: int
    text: str


class Pending:
    """Digests under way; `result` waits for the devices."""

    __slots__ = ("columns", "entries", "headers", "names", "sums")

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.headers: list[Header] = []
        self.columns: list[tuple[Any, Sequence[int], Any]] = []  # device or None, tensor of each column, [2, columns]
        self.sums: tuple[list[int], list[int]] | None = None
        self.entries: dict[str, Entry] | None = None

    def result(self) -> dict[str, Entry]:
        """Return the digests by name."""
        if self.entries is None:
            columns = zip(self.names, self.headers, *self._sums(), strict=True)
            self.entries = {name: _entry(header, a, b) for name, header, a, b in columns}
        return self.entries

    def equals(self, other: "Pending") -> bool:
        """Say whether the same names have the same digests, without computing these."""
        return self.names == other.names and self.headers == other.headers and self._sums() == other._sums()

    def _sums(self) -> tuple[list[int], list[int]]:
        """Return both sums of each tensor. Those that are still on a device cross over here, once per device."""
        if self.sums is None:
            self.sums = [0] * len(self.names), [0] * len(self.names)
            devices: dict[Any, list] = {}
            for device, owners, sums in self.columns:
                if device is None:
                    self._add(owners, *sums)
                else:
                    devices.setdefault(device, []).append((owners, sums))
            for parts in devices.values():
                with torch.inference_mode(), torch._C.DisableTorchFunction():
                    both = torch.cat([sums for _, sums in parts], dim=1).cpu().tolist()
                self._add([owner for part, _ in parts for owner in part], *both)
            self.columns = []
        return self.sums

    def _add(self, owners: Sequence[int], first: list[int], second: list[int]) -> None:
        assert self.sums is not None
        for owner, a, b in zip(owners, first, second, strict=True):
            self.sums[0][owner] = self.sums[0][owner] + a & MASK
            self.sums[1][owner] = self.sums[1][owner] + b & MASK


def _entry(header: Header, a: int, b: int) -> Entry:
    text = f"{header.text}{a:016x}{b:016x}"
    return Entry(header.dtype, header.shape, f"{ALGORITHM}:" + hashlib.sha256(text.encode()).hexdigest()[:32])


@functools.lru_cache(maxsize=1 << 14)
def _header(dtype: torch.dtype, shape: tuple[int, ...]) -> Header:
    name, num_bytes = str(dtype).removeprefix("torch."), math.prod(shape) * dtype.itemsize
    return Header(name, tuple(shape), num_bytes, f"{name}|{shape_text(shape)}|{num_bytes}|")


def _json_header(num_bytes: int) -> Header:
    return Header("json", (), num_bytes, f"uint8|{num_bytes}|{num_bytes}|")


def arithmetic() -> str:
    """Return what computes the digests of what lies in memory, and why it is not machine code."""
    return f"{'numpy' if numpy else 'torch'}: ml128.so {_why_not}" if _why_not else "native"


@functools.lru_cache(maxsize=1 << 14)
def shape_text(shape: tuple[int, ...]) -> str:
    """Return `2x3` for (2, 3) and nothing for a scalar."""
    return "x".join(map(str, shape))


def root(entries: dict[str, Entry]) -> str:
    """Return a stream's root: sha256 over its sorted lines `name|dtype|shape|digest`."""
    lines = sorted(f"{name}|{e.dtype}|{shape_text(e.shape)}|{e.digest}\n" for name, e in entries.items())
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def is_supported(tensor: torch.Tensor) -> bool:
    """Say whether a tensor has bytes of its own that can be read: dense, not quantized, with memory behind it."""
    if tensor.layout is not torch.strided or tensor.is_quantized or not (tensor.is_cpu or tensor.is_cuda):
        return False
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        # A subclass that holds other tensors (DTensor, torchao's) has no bytes of its own
        is_fake = any(base.__name__ == "FakeTensor" for base in type(tensor).__mro__)
        if is_fake or hasattr(type(tensor), "__tensor_flatten__"):
            return False
    has_memory: bool = tensor.untyped_storage().nbytes() > 0  # sharded parameters have none until they are gathered
    return has_memory or tensor.numel() == 0


def launch(items: dict[str, Value]) -> Pending:
    """Start hashing. Tensors are read as they are now; what happens to them afterwards does not matter."""
    pending = Pending(list(items))
    here: list[tuple[int, Any, int]] = []  # in memory: which item, its address or bytes, their number
    packs: dict[tuple, list[tuple[int, torch.Tensor]]] = {}
    kept = []  # until they are read
    with torch.inference_mode(), torch._C.DisableTorchFunction():
        for index, value in enumerate(items.values()):
            if isinstance(value, bytes):
                pending.headers.append(_json_header(len(value)))
                here.append((index, value, len(value)))
                continue
            header = _header(value.dtype, value.shape)
            pending.headers.append(header)
            tensor = value.resolve_conj().resolve_neg() if value.is_conj() or value.is_neg() else value
            if tensor.is_cpu and machine_code is not None:
                kept.append(tensor := tensor.contiguous())
                here.append((index, tensor.data_ptr(), header.num_bytes))
            else:
                packs.setdefault((tensor.device, tensor.dtype), []).append((index, tensor.detach()))
        if here and machine_code is not None:
            owners, data, sizes = zip(*here, strict=True)
            pending.columns.append((None, owners, machine_code(data, sizes)))
        elif here:
            _hash_texts(pending, [(index, text) for index, text, _ in here])
        for (device, dtype), members in packs.items():
            _hash_group(pending, device, dtype, [m for m in members if m[1].numel()])
    return pending


def _flat_bytes(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.detach().contiguous().view(-1)
    if flat.numel() == 1:  # contiguous whatever its stride, but only stride 1 can be viewed as bytes
        flat = flat.as_strided((1,), (1,))
    return flat.view(torch.uint8)


def _hash_texts(pending: Pending, texts: list[tuple[int, bytes]]) -> None:
    """Hash byte strings on the CPU, as tensors."""
    tensors = [(index, torch.frombuffer(bytearray(text), dtype=torch.uint8)) for index, text in texts if text]
    _hash_group(pending, torch.device("cpu"), torch.uint8, tensors)


def _hash_group(pending: Pending, device: torch.device, dtype: torch.dtype, members: list) -> None:
    """Hash tensors of one device and dtype: the small ones in packs, the others alone."""
    chunk = CHUNK_WORDS_CPU if device.type == "cpu" else CHUNK_WORDS_DEVICE
    pack: list[tuple[int, torch.Tensor]] = []
    lengths: list[int] = []
    for index, tensor in members:
        num_words = -(-tensor.nbytes // UNIT_BYTES) * (UNIT_BYTES // 4)
        if num_words > chunk or dtype not in JOINABLE:
            _hash_large(pending, index, _flat_bytes(tensor), chunk)
            continue
        if sum(lengths) + num_words > chunk:
            _flush(pending, pack, lengths)
            pack, lengths = [], []
        pack.append((index, tensor))
        lengths.append(num_words)
    _flush(pending, pack, lengths)


def _flush(pending: Pending, pack: list[tuple[int, torch.Tensor]], lengths: list[int]) -> None:
    if pack:
        zeros, joined = pack[0][1].new_zeros(UNIT_BYTES // pack[0][1].itemsize), []
        for _, tensor in pack:
            joined.append(tensor)
            if missing := -tensor.nbytes % UNIT_BYTES // tensor.itemsize:
                joined.append(zeros[:missing])
        words = _condensed(_words(_flat_bytes(torch._utils._flatten_dense_tensors(joined))))
        shrunk = sum(lengths) // len(words)
        _hash_pack(pending, [index for index, _ in pack], tuple(length // shrunk for length in lengths), words)


def _words(flat: torch.Tensor) -> torch.Tensor:
    """Return bytes, a multiple of four, as int32 words (shape [num_bytes / 4]), copying only what is not aligned."""
    return (flat.clone() if flat.storage_offset() % 4 else flat).view(torch.int32)


def _condensed(words: torch.Tensor) -> torch.Tensor:
    """Return the four words of both sums of each block (shape [4 * num_blocks], int32), in the order of the blocks."""
    if ALGORITHM == "sm128":
        return words
    blocks = words.view(-1, BLOCK_WORDS)
    if words.device.type == "cpu" and numpy is not None:
        factors = _factors_numpy()
        wide = blocks.numpy().view(numpy.uint32).astype(numpy.uint64)
        sums = numpy.stack([numpy.einsum("ij,j->i", wide, factor) for factor in factors], axis=1)
        return torch.from_numpy(sums.view(numpy.int32).reshape(-1))
    unsigned = blocks.to(torch.int64).bitwise_and_(0xFFFFFFFF)
    return (
        torch.stack([(unsigned * f).sum(dim=1) for f in _factors_torch(words.device)], dim=1).view(torch.int32).view(-1)
    )


def _hash_pack(pending: Pending, owners: list[int], lengths: tuple[int, ...], words: torch.Tensor) -> None:
    if words.device.type == "cpu" and numpy is not None:
        starts, offsets = _plan_numpy(lengths)
        x, y = _mix_numpy(words.numpy().view(numpy.uint32), offsets, 0)
        sums = (numpy.add.reduceat(x, starts).tolist(), numpy.add.reduceat(y, starts).tolist())
        pending.columns.append((None, owners, sums))
        return
    ends, positions = _plan_torch(lengths, words.device)
    x = _mix_torch(words, (torch.arange(1, len(words) + 1, device=words.device) - positions()).mul_(_signed(GOLDEN)))
    sums = torch.stack([x, x * x]).cumsum(dim=1)[:, ends]  # differences of a wrapping running sum are exact
    sums[:, 1:] -= sums[:, :-1].clone()
    pending.columns.append((words.device, owners, sums))


def _hash_large(pending: Pending, owner: int, flat: torch.Tensor, chunk: int) -> None:
    """Hash the bytes of one tensor, `chunk` words at a time."""
    begin = 0  # of a chunk's words, among the tensor's condensed ones
    for part in flat.split(4 * chunk):
        padded = torch.cat([part, part.new_zeros(-len(part) % UNIT_BYTES)]) if len(part) % UNIT_BYTES else part
        words = _condensed(_words(padded))
        if words.device.type == "cpu" and numpy is not None:
            ramp = _plan_numpy((len(words),))[1]
            x, y = _mix_numpy(words.numpy().view(numpy.uint32), ramp, begin)
            pending.columns.append((None, [owner], ([int(x.sum())], [int(y.sum())])))
        else:
            ramp = torch.arange(begin + 1, begin + len(words) + 1, device=words.device).mul_(_signed(GOLDEN))
            x = _mix_torch(words, ramp)
            pending.columns.append((words.device, [owner], torch.stack([x.sum(), (x * x).sum()]).view(2, 1)))
        begin += len(words)


@functools.cache
def _factors() -> list[list[int]]:
    """Return the factors of both sums for the places in a block: halves of splitmix64's first values, made odd."""
    mixed = []
    for place in range(1, BLOCK_WORDS + 1):
        x = place * GOLDEN & MASK
        for shift, multiplier in zip(SHIFTS, (*MULTIPLIERS, 1), strict=True):
            x = (x ^ (x >> shift)) * multiplier & MASK
        mixed.append(x)
    return [[x & 0xFFFFFFFF | 1 for x in mixed], [x >> 32 | 1 for x in mixed]]


@functools.cache
def _factors_numpy() -> Any:
    return numpy.array(_factors(), dtype=numpy.uint64)


@functools.lru_cache(maxsize=16)
def _factors_torch(device: torch.device) -> torch.Tensor:
    return torch.tensor(_factors(), dtype=torch.int64, device=device)


@functools.lru_cache(maxsize=96)
def _plan_numpy(lengths: tuple[int, ...]) -> tuple:
    """Return where each tensor of a pack starts, and (i + 1) * GOLDEN for each word, i counted within its tensor."""
    starts = numpy.cumsum((0, *lengths[:-1]), dtype=numpy.intp)
    index = numpy.arange(1, sum(lengths) + 1, dtype=numpy.uint64) - numpy.repeat(starts, lengths).astype(numpy.uint64)
    return starts, index * numpy.uint64(GOLDEN)


@functools.cache
def _scratch_numpy() -> tuple:
    return numpy.empty(CHUNK_WORDS_CPU, numpy.uint64), numpy.empty(CHUNK_WORDS_CPU, numpy.uint64)


def _mix_numpy(words: Any, offsets: Any, first: int) -> tuple:
    """Return x and x * x of the definition in the scratch arrays: valid until the next call."""
    x, y = (scratch[: len(words)] for scratch in _scratch_numpy())
    numpy.add(words, offsets, out=x)
    if first:
        numpy.add(x, numpy.uint64(first * GOLDEN & MASK), out=x)
    for shift, multiplier in zip(SHIFTS, (*MULTIPLIERS, None), strict=True):
        numpy.right_shift(x, numpy.uint64(shift), out=y)
        numpy.bitwise_xor(x, y, out=x)
        if multiplier:
            numpy.multiply(x, numpy.uint64(multiplier), out=x)
    numpy.multiply(x, x, out=y)
    return x, y


@functools.lru_cache(maxsize=256)
def _plan_torch(lengths: tuple[int, ...], device: torch.device) -> tuple:
    """Return the last word of each tensor of a pack, and a function that gives each word its tensor's start."""
    counts = torch.tensor(lengths)
    ends = counts.cumsum(0)
    starts, counts_there = (ends - counts).to(device), counts.to(device)
    total = sum(lengths)
    return (ends - 1).to(device), lambda: torch.repeat_interleave(starts, counts_there, output_size=total)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _mix_torch(words: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    x = words.to(torch.int64).bitwise_and_(0xFFFFFFFF).add_(offsets)
    for shift, multiplier in zip(SHIFTS, (*MULTIPLIERS, None), strict=True):
        # int64 shifts keep the sign: the mask makes them logical
        x.bitwise_xor_(torch.bitwise_right_shift(x, shift).bitwise_and_((1 << (64 - shift)) - 1))
        if multiplier:
            x.mul_(_signed(multiplier))
    return x
