import json
from pathlib import Path

import numpy as np
import pytest

from harness.errors import EvidenceError
from harness.judge import elementwise
from harness.judge.elementwise import diff_files
from tests.made.synthetic import safetensors
from tests.unit.evidence.test_content import pickled

GOLDEN = Path(__file__).parents[2] / "golden" / "torch"


def diff(one, two):
    return diff_files("a.safetensors", safetensors(one), "b.safetensors", safetensors(two))


def floats(*bits, dtype="<f4"):
    return np.array(bits, dtype=f"<u{np.dtype(dtype).itemsize}").view(dtype)


def test_equal_files_are_equal_in_either_format():
    one = diff_files("t.pt", (GOLDEN / "tensors.pt").read_bytes(), "t.pt", (GOLDEN / "tensors.pt").read_bytes())
    assert one.is_equal and one.num_equal == one.num_tensors == 22
    two = diff_files(
        "t.pt", (GOLDEN / "tensors.pt").read_bytes(), "t.safetensors", (GOLDEN / "tensors.safetensors").read_bytes()
    )
    assert not two.tensors and [value.path for value in two.values] == ["__metadata__/format"]


def test_every_tensor_that_differs_is_counted_and_placed():
    a = np.arange(12, dtype="<f4").reshape(3, 4)
    b = a.copy()
    b[1, 2] += 0.5
    b[2, 3] -= 3
    found = diff({"w": a, "same": a}, {"w": b, "same": a})
    (tensor,) = found.tensors
    assert (tensor.name, tensor.kind, tensor.num_elements, tensor.num_different) == ("w", "differs", 12, 2)
    assert (tensor.first_index, tensor.max_abs) == ((1, 2), 3.0)
    assert (found.num_tensors, found.num_equal) == (2, 1)
    assert tensor.left == "6.0 (0x40c00000)"


@pytest.mark.parametrize(
    ("dtype", "left", "right", "ulp"),
    [
        ("<f4", 0x3F800000, 0x3F800001, 1),
        ("<f4", 0x3F800000, 0x3F7FFFFF, 1),
        ("<f4", 0x00000000, 0x80000000, 0),
        ("<f4", 0x00000001, 0x80000001, 2),
        ("<f4", 0x7F7FFFFF, 0x7F800000, 1),
        ("<f4", 0xFF7FFFFF, 0x7F7FFFFF, 2 * 0x7F7FFFFF),
        ("<f4", 0x7FC00000, 0x7FC00001, 0),
        ("<f4", 0x7FC00000, 0x3F800000, 0),
        ("<f2", 0x3C00, 0x3C02, 2),
        ("<f8", 0x3FF0000000000000, 0x3FF0000000000001, 1),
        ("<f8", 0x7FEFFFFFFFFFFFFF, 0xFFEFFFFFFFFFFFFF, 2 * 0x7FEFFFFFFFFFFFFF),
    ],
)
def test_the_distance_is_that_of_ordered_integers(dtype, left, right, ulp):
    (tensor,) = diff({"w": floats(left, dtype=dtype)}, {"w": floats(right, dtype=dtype)}).tensors
    assert (tensor.num_different, tensor.max_ulp) == (1, ulp)


def test_both_zeros_differ_in_their_bits_and_in_nothing_else():
    (tensor,) = diff({"w": np.array([0.0], dtype="<f4")}, {"w": np.array([-0.0], dtype="<f4")}).tensors
    assert (tensor.num_different, tensor.max_ulp, tensor.max_abs) == (1, 0, 0.0)


def test_brain_floats_have_their_own_steps():
    (tensor,) = diff({"w": np.array([0x3F80], dtype="<u2")}, {"w": np.array([0x3F82], dtype="<u2")}).tensors
    assert (tensor.max_ulp, tensor.max_abs, tensor.left) == (2, 2 * 2.0**-7, "1.0 (0x3f80)")


def test_the_table_of_fp8_is_that_of_its_format():
    table = elementwise._E4M3FN
    assert (table[0x7E], table[0x08], table[0x01], table[0x38]) == (448.0, 2.0**-6, 2.0**-9, 1.0)
    assert (
        np.isnan(table[0x7F]) and np.isnan(table[0xFF]) and np.signbit(table[0x80]) and np.isfinite(table).sum() == 254
    )


def test_integers_at_both_ends_do_not_overflow():
    ends = np.iinfo("<i8")
    (tensor,) = diff({"w": np.array([ends.min])}, {"w": np.array([ends.max])}).tensors
    assert tensor.max_abs == float(2**64 - 1) and tensor.max_ulp is None


def test_missing_extra_dtype_and_shape_are_told_apart():
    one = {"a": np.ones(2, dtype="<f4"), "b": np.ones(2, dtype="<f4"), "c": np.ones(4, dtype="<f4")}
    two = {"b": np.ones(2, dtype="<f8"), "c": np.ones((2, 2), dtype="<f4"), "d": np.ones(1, dtype="<f4")}
    assert [(t.name, t.kind, t.left, t.right) for t in diff(one, two).tensors] == [
        ("a", "missing", "float32 [2]", ""),
        ("b", "dtype", "float32", "float64"),
        ("c", "shape", "[4]", "[2, 2]"),
        ("d", "extra", "", "float32 [1]"),
    ]


def test_chunks_do_not_change_the_answer(monkeypatch):
    a = np.linspace(-1, 1, 1000, dtype="<f4")
    b = a.copy()
    b[[7, 500, 999]] *= np.float32(1.5)
    whole = diff({"w": a}, {"w": b})
    monkeypatch.setattr(elementwise, "CHUNK_BYTES", 64)
    assert diff({"w": a}, {"w": b}) == whole
    assert whole.tensors[0].first_index == (7,) and whole.tensors[0].num_different == 3


def test_a_scalar_and_an_infinity_can_be_printed_as_json():
    found = diff({"w": np.array(1.0, dtype="<f4")}, {"w": np.array(np.inf, dtype="<f4")})
    assert found.tensors[0].first_index == ()
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["tensors"][0]["max_abs"] == "inf"


def test_values_that_are_no_tensors_are_shown_on_both_sides():
    one, two = pickled({"epoch": 1, "lr": 0.5}), pickled({"epoch": 2, "lr": 0.5, "more": None})
    found = diff_files("a.pt", one, "b.pt", two)
    assert [(v.path, v.left, v.right) for v in found.values] == [("epoch", "1", "2"), ("more", "", "null")]


def test_a_class_and_a_value_at_one_path_do_not_hide_each_other():
    import collections

    one, two = pickled({"c": collections.Counter(a=1)}), pickled({"c": 1})
    assert not diff_files("a.pt", one, "b.pt", two).is_equal


def test_a_torn_file_is_refused():
    with pytest.raises(EvidenceError):
        diff_files("a.pt", b"torn", "b.pt", b"torn")
