"""Two files of tensors, element by element: which tensors differ, in how many elements, and how far apart they are.

This is for people who look for a cause (`harness diff A B`). A verdict rests on digests, not on these numbers.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from pydantic import computed_field, field_serializer

from harness.documents.digest import CHUNK_BYTES, Data
from harness.documents.document import Model
from harness.evidence.content import open_file, read_content
from harness.evidence.tensor_file import RawContent, RawTensor
from harness.judge.locate import natural_key

Kind = Literal["differs", "missing", "extra", "dtype", "shape"]
_BITS = {1: "<u1", 2: "<u2", 4: "<u4", 8: "<u8"}
_ULP_BITS = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}
_PARTS = {"complex64": "float32", "complex128": "float64", "complex32": "float16"}
_MAX_VALUES = 1_000
Array = np.ndarray[Any, Any]


class TensorDiff(Model):
    """One tensor that is not the same in both files.

    Attributes:
        kind: `missing` is in the first file only, `extra` in the second; `dtype` and `shape` differ before any element.
        num_elements: of the first file's tensor, real and imaginary parts counted apart.
        num_different: elements whose bits differ; `+0.0` and `-0.0` do.
        max_ulp: the largest number of representable values between two elements, 0 for two zeros or equal NaN; None for
            dtypes that are not floating point. NaN against a number is not counted.
        max_abs: the largest absolute difference; None for `bool` or where only NaN or equal infinities differ.
        first_index: of the first element that differs, in the tensor's own axes.
        left, right: that element on both sides, or the dtype or shape.
    """

    name: str
    kind: Kind
    num_elements: int = 0
    num_different: int = 0
    max_ulp: int | None = None
    max_abs: float | None = None
    first_index: tuple[int, ...] | None = None
    left: str = ""
    right: str = ""

    @field_serializer("max_abs")
    def _finite(self, value: float | None) -> float | str | None:
        """JSON has no infinity."""
        return value if value is None or math.isfinite(value) else repr(value)


class ValueDiff(Model):
    """A value that is no tensor; an empty side has no such value."""

    path: str
    left: str
    right: str


class FileDiff(Model):
    """Everything that differs between two files; `num_equal` tensors are equal bit for bit.

    `formats` says how each was read; `bytes` for what holds no value that is known here.
    """

    kind: Literal["files"] = "files"
    left: str
    right: str
    formats: tuple[str, str]
    num_tensors: int
    num_equal: int
    tensors: tuple[TensorDiff, ...]
    values: tuple[ValueDiff, ...]

    @computed_field(alias="equal")  # type: ignore[prop-decorator]  # https://github.com/python/mypy/issues/14461
    @property
    def is_equal(self) -> bool:
        """Whether both files hold the same."""
        return not self.tensors and not self.values


def diff_files(left_name: str, left: Data, right_name: str, right: Data) -> FileDiff:
    """Compare two files: files of tensors element by element, others by their values.

    Raises:
        EvidenceError: a file cannot be read.
    """
    one, two = _open(left_name, left), _open(right_name, right)
    a, b = ({tensor.name: tensor for tensor in side.tensors} for side in (one, two))
    names = sorted(a.keys() | b.keys(), key=natural_key)
    diffs = [diff for name in names if (diff := _diff_tensor(name, a.get(name), b.get(name))) is not None]
    return FileDiff(
        left=left_name,
        right=right_name,
        formats=(one.format, two.format),
        num_tensors=len(names),
        num_equal=len(names) - len(diffs),
        tensors=tuple(diffs),
        values=_diff_values(one, two),
    )


def _open(name: str, data: Data) -> RawContent:
    raw = open_file(name, data)
    if raw is not None:
        return raw
    content = read_content(name, data)
    return RawContent(format=content.format, tensors=(), values=content.values, opaque=content.opaque)


def _diff_values(one: RawContent, two: RawContent) -> tuple[ValueDiff, ...]:
    a, b = _values(one), _values(two)
    ordered = sorted((path for path in a.keys() | b.keys() if a.get(path) != b.get(path)), key=natural_key)
    return tuple(ValueDiff(path=path, left=a.get(path, ""), right=b.get(path, "")) for path in ordered[:_MAX_VALUES])


def _values(content: RawContent) -> dict[str, str]:
    return {**{path: f"<{name}>" for path, name in content.opaque}, **dict(content.values)}


def _diff_tensor(name: str, left: RawTensor | None, right: RawTensor | None) -> TensorDiff | None:
    if left is None or right is None:
        there = left or right
        kind: Kind = "extra" if left is None else "missing"
        text = "" if there is None else f"{there.dtype} {list(there.shape)}"
        return TensorDiff(name=name, kind=kind, left=text if left else "", right=text if right else "")
    if left.dtype != right.dtype:
        return TensorDiff(name=name, kind="dtype", left=left.dtype, right=right.dtype)
    if left.shape != right.shape:
        return TensorDiff(name=name, kind="shape", left=str(list(left.shape)), right=str(list(right.shape)))
    return _diff_elements(left, right)


def _diff_elements(left: RawTensor, right: RawTensor) -> TensorDiff | None:
    dtype = _PARTS.get(left.dtype, left.dtype)
    parts = 2 if left.dtype in _PARTS else 1
    one, two = left.data(), right.data()
    item = left.item_bytes // parts
    count, first, max_ulp, max_abs = 0, -1, None, None
    for begin in range(0, len(one), CHUNK_BYTES):
        x, y = (np.frombuffer(data[begin : begin + CHUNK_BYTES], dtype=_BITS[item]) for data in (one, two))
        places = np.flatnonzero(x != y)
        if not len(places):
            continue
        count += len(places)
        first = begin // item + int(places[0]) if first < 0 else first
        ulp, distance = _distances(x[places], y[places], dtype)
        max_ulp = ulp if max_ulp is None else max(max_ulp, ulp or 0)
        max_abs = distance if max_abs is None else max(max_abs, distance or 0.0)
    if not count:
        return None
    shown = [np.frombuffer(data[first * item : (first + 1) * item], dtype=_BITS[item]) for data in (one, two)]
    index = np.unravel_index(first // parts, left.shape) if left.shape else ()
    return TensorDiff(
        name=left.name,
        kind="differs",
        num_elements=len(one) // item,
        num_different=count,
        max_ulp=max_ulp,
        max_abs=max_abs,
        first_index=tuple(int(place) for place in index),
        left=_show(shown[0], dtype),
        right=_show(shown[1], dtype),
    )


def _distances(x: Array, y: Array, dtype: str) -> tuple[int | None, float | None]:
    """The largest distance in representable values and in absolute value; x and y hold bits."""
    ulp: int | None = None
    if dtype in _ULP_BITS:
        one, two = _values_of(x, dtype), _values_of(y, dtype)
        with np.errstate(all="ignore"):
            numbers = ~(np.isnan(one) | np.isnan(two))
            distance = np.abs(one - two)
        usable = distance[numbers & ~np.isnan(distance)]
        ulp = _ulp(x[numbers], y[numbers]) if numbers.any() else 0
        return ulp, float(usable.max()) if len(usable) else None
    if dtype == "bool":
        return None, None
    if dtype.startswith(("int", "uint")):
        return None, float(_integer_distance(x, y, dtype))
    return None, None


def _ulp(x: Array, y: Array) -> int:
    """The largest distance between the ordered integers of two floats' bits; both zeros are the same integer."""
    sign = np.uint64(1 << (8 * x.dtype.itemsize - 1))
    one, two = x.astype(np.uint64), y.astype(np.uint64)
    # Positive floats are ordered as their bits are, negative ones the other way round, below them.
    ordered_one = np.where(one & sign, sign - (one & ~sign), sign + one)
    ordered_two = np.where(two & sign, sign - (two & ~sign), sign + two)
    return int(np.where(ordered_one > ordered_two, ordered_one - ordered_two, ordered_two - ordered_one).max())


def _integer_distance(x: Array, y: Array, dtype: str) -> int:
    one, two = x.view(f"<{dtype[0]}{x.dtype.itemsize}"), y.view(f"<{dtype[0]}{y.dtype.itemsize}")
    wide_one, wide_two = (v.astype(np.int64 if dtype[0] == "i" else np.uint64).view(np.uint64) for v in (one, two))
    return int(np.where(one > two, wide_one - wide_two, wide_two - wide_one).max())


def _values_of(bits: Array, dtype: str) -> Array:
    """The numbers that bits stand for, as float64."""
    if dtype == "bfloat16":
        return (bits.astype("<u4") << 16).view("<f4").astype("<f8")
    if dtype == "float8_e5m2":
        return (bits.astype("<u2") << 8).view("<f2").astype("<f8")
    if dtype == "float8_e4m3fn":
        return _E4M3FN[bits]
    with np.errstate(all="ignore"):
        return bits.view(f"<f{bits.dtype.itemsize}").astype("<f8")


def _show(bits: Array, dtype: str) -> str:
    if dtype in _ULP_BITS:
        return f"{float(_values_of(bits, dtype)[0])!r} (0x{int(bits[0]):0{2 * bits.dtype.itemsize}x})"
    if dtype.startswith("int"):
        return str(int(bits.view(f"<i{bits.dtype.itemsize}")[0]))
    return str(int(bits[0])) if dtype.startswith("uint") else f"0x{int(bits[0]):0{2 * bits.dtype.itemsize}x}"


def _e4m3fn() -> Array:
    """The 256 values of FP8 E4M3 (https://arxiv.org/abs/2209.05433): bias 7, no infinities, NaN at S.1111.111."""
    codes = np.arange(256)
    exponent, mantissa = (codes >> 3) & 15, codes & 7
    size = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    size = np.where((exponent == 15) & (mantissa == 7), np.nan, size)
    return np.where(codes & 128, -size, size)


_E4M3FN = _e4m3fn()
