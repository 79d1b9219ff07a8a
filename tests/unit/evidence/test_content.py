import gzip
import hashlib
import json
import pickle
import random
import re
import struct
import subprocess
import sys
import time
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from harness.documents.digest import Digest
from harness.errors import EvidenceError
from harness.evidence import torch_file
from harness.evidence.content import Content, read_content
from tests.made.synthetic import safetensors
from tests.unit.recorder.digest_reference import reference_digest

GOLDEN = Path(__file__).parents[2] / "golden" / "torch"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())["tensors"]


def archive(
    data: bytes, storages: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED, **more: bytes
) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr("a/data.pkl", data)
        for key, storage in (storages or {}).items():
            file.writestr(f"a/data/{key}", storage)
        for name, content in more.items():
            file.writestr(f"a/{name}", content)
    return buffer.getvalue()


def pickled(value, protocol=2):
    return archive(pickle.dumps(value, protocol=protocol))


def values(data: bytes, name="x.pt") -> dict:
    return dict(read_content(name, data).values)


# --- what torch wrote -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tensors.pt", "tensors.safetensors"])
def test_every_tensor_that_torch_wrote_is_read_bit_for_bit(name):
    content = read_content(name, (GOLDEN / name).read_bytes())
    found = {t.name: {"dtype": t.dtype, "shape": list(t.shape), "sha256": t.sha256.hex} for t in content.tensors}
    assert found == EXPECTED
    assert not content.opaque


def test_a_tensor_whose_elements_lie_too_far_apart_for_memory_is_refused(monkeypatch):
    monkeypatch.setattr(torch_file, "_MAX_SPAN_BYTES", 16)
    with pytest.raises(EvidenceError, match="not contiguous"):
        read_content("x.pt", (GOLDEN / "tensors.pt").read_bytes())


def test_both_formats_give_a_tensor_the_same_digests():
    one, two = (
        {t.name: (t.digest, t.sha256) for t in read_content(name, (GOLDEN / name).read_bytes()).tensors}
        for name in ("tensors.pt", "tensors.safetensors")
    )
    assert one == two


def test_the_fast_digest_is_that_of_the_ledger():
    array = np.arange(12, dtype="<f4").reshape(3, 4)
    (tensor,) = read_content("x.safetensors", safetensors({"w": array})).tensors
    assert str(tensor.digest) == reference_digest("float32", [3, 4], array.tobytes())
    assert tensor.sha256 == Digest("sha256", hashlib.sha256(array.tobytes()).hexdigest())


def test_a_checkpoint_is_read_with_its_optimizer_generators_and_numbers():
    content = read_content("checkpoint.pt", (GOLDEN / "checkpoint.pt").read_bytes())
    names = {tensor.name: tensor for tensor in content.tensors}
    found = dict(content.values)
    assert names["model/0.weight"].shape == (3, 4)
    assert names["optimizer/state/0/exp_avg"].dtype == "float32"
    assert (names["torch"].dtype, names["torch"].shape) == ("uint8", (5056,))
    assert found["epoch"] == "3" and found["loss"] == "0.1" and found["best"] == "inf" and found["nothing"] == "null"
    assert (
        found["scheduler/last_epoch"] == "2"
        and found["python/0"] == "3"
        and len([p for p in found if p.startswith("python/1/")]) == 625
    )
    assert found["raw"] == f"bytes:sha256:{hashlib.sha256(bytes([0, 255])).hexdigest()}"
    assert (found["names/0"], found["names/1"]) == ('"a"', '"b"')
    assert (found['"1"'], found["1"]) == ('"text"', '"number"')
    assert found["dtype"] == "<torch.float32>" and found["empty"] == "{}" and found["list"] == "[]"
    assert found["config/<state>/lr"] == "0.5" and ("config", "argparse.Namespace") in content.opaque


WRITTEN = {"w": ("float32", (2, 3)), "b": ("bfloat16", (3,))}


@pytest.mark.parametrize("name", ["legacy.bin", "pickled.ckpt", "nocrc.pt"])
@pytest.mark.parametrize("called", ["x.pth.tar", "pytorch_model.bin", "x.ckpt", "x.model", "x", "x.json"])
def test_what_a_file_is_is_told_by_its_first_bytes(name, called):
    """The same tensors in the layout before torch 1.6, by pickle alone, and in an archive without CRCs."""
    content = read_content(called, (GOLDEN / name).read_bytes())
    assert {t.name: (t.dtype, t.shape) for t in content.tensors} == WRITTEN
    assert dict(content.values) == {"step": "7"}
    digests = {t.name: t.sha256 for t in content.tensors}
    assert digests["w"].hex == hashlib.sha256(np.arange(6, dtype="<f4").tobytes()).hexdigest()


@pytest.mark.parametrize("called", ["adapter", "model.bin", "x.ckpt"])
def test_safetensors_are_known_under_any_name(called):
    data = safetensors({"w": np.ones(3, dtype="<f4")})
    assert read_content(called, data) == read_content("x.safetensors", data)


@pytest.mark.parametrize("cut", [1, 9, 60, 300, 360, 500])
def test_a_file_of_the_old_layout_that_is_torn_is_refused(cut):
    data = (GOLDEN / "legacy.bin").read_bytes()
    with pytest.raises(EvidenceError):
        read_content("x.pt", data[:-cut])


def test_addresses_in_the_old_layout_are_not_compared():
    data = (GOLDEN / "legacy.bin").read_bytes()
    keys = sorted(set(re.findall(rb"[0-9]{14}", data)))
    assert len(keys) == 2
    other = data.replace(keys[0], b"10000000000001").replace(keys[1], b"10000000000002")
    assert read_content("x", other) == read_content("x", data)


def test_a_storage_inside_of_a_storage_is_not_followed():
    """Each level would be one more call; a hostile file has as many as it likes."""
    data = b"x"
    for _ in range(3000):
        data = b"\x80\x04\x8c\x0dtorch.storage\x8c\x10_load_from_bytes\x93B" + struct.pack("<L", len(data)) + data
        data += b"\x85R."
    assert read_content("x.ckpt", data).format in ("pickle", "bytes")


def test_torchscript_is_named_and_its_code_counts():
    data = (GOLDEN / "scripted.model").read_bytes()
    content = read_content("x.pt", data)
    assert content.format == "torchscript"
    assert [t.shape for t in content.tensors] == [(3,), (3, 2)]
    assert any(path.startswith("member/code") for path, _ in content.values)


def test_quantized_sparse_and_conjugated_tensors_are_compared_as_far_as_they_have_bytes():
    content = read_content("odd.pth.tar", (GOLDEN / "odd.pth.tar").read_bytes())
    found = {t.name.partition("/")[0]: t.dtype for t in content.tensors}
    assert found == {"q": "qint8", "c": "complex64", "s": "float32", "u": "uint16"}
    assert ("q", "torch._utils._rebuild_qtensor") in content.opaque


def test_a_file_of_a_distributed_checkpoint_is_read_archive_by_archive():
    data = (GOLDEN / "parts.distcp").read_bytes()
    content = read_content("__0_0.distcp", data)
    assert [(t.name, t.shape) for t in content.tensors] == [("1", (2, 3)), ("2", (3,))]
    assert dict(content.values) == {"0": "7"}
    with pytest.raises(EvidenceError):
        read_content("__0_0.distcp", data[:-1])


def test_what_a_distributed_checkpoint_makes_anew_at_each_save_is_not_compared():
    data = (GOLDEN / "parts.metadata").read_bytes()
    save_id = re.search(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", data)[0]
    other = data.replace(save_id, save_id[::-1])
    assert other != data
    assert read_content(".metadata", other) == read_content(".metadata", data)
    moved = data.replace(b"__0_0.distcp", b"__0_1.distcp")
    assert read_content(".metadata", moved) != read_content(".metadata", data)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_numpy_are_tensors(order):
    one, both = BytesIO(), BytesIO()
    array = np.asarray(np.arange(6, dtype="<f4").reshape(2, 3), order=order)
    np.save(one, array)
    np.savez(both, w=array, step=np.int64(3))
    (tensor,) = read_content("x.npy", one.getvalue()).tensors
    assert tensor.sha256.hex == hashlib.sha256(np.arange(6, dtype="<f4").tobytes()).hexdigest()
    assert [(t.name, t.dtype) for t in read_content("x.npz", both.getvalue()).tensors] == [
        ("step", "int64"),
        ("w", "float32"),
    ]
    with pytest.raises(EvidenceError):
        read_content("x.npy", one.getvalue()[:-1])


@pytest.mark.parametrize("array", [np.array([{}]), np.zeros(2, dtype=">f4"), np.zeros(1, dtype=[("a", "<f4")])])
def test_arrays_that_are_no_tensors_are_compared_by_their_bytes(array):
    buffer = BytesIO()
    np.save(buffer, array)
    assert read_content("x.npy", buffer.getvalue()).format == "bytes"


def test_gzip_is_compared_by_what_is_in_it():
    one, two = (gzip.compress(b"text" * 100, mtime=when) for when in (1, 2))
    assert read_content("x.gz", one) == read_content("x.gz", two) != read_content("x.gz", gzip.compress(b"other"))
    assert read_content("x.gz", one[:-1]).format == "bytes"


def test_gzip_that_unpacks_to_much_more_than_its_size_is_compared_by_its_bytes():
    data = gzip.compress(bytes(200 << 20), 9)
    assert read_content("x.gz", data).format == "bytes"


@pytest.mark.parametrize(("code", "shape", "size"), [("F4", [2, 6], 6), ("F6_E2M3", [8], 6), ("F6_E3M2", [2, 2], 3)])
def test_dtypes_of_less_than_a_byte(code, shape, size):
    header = json.dumps({"w": {"dtype": code, "shape": shape, "data_offsets": [0, size]}}).encode()
    data = struct.pack("<Q", len(header)) + header + bytes(range(size))
    content = read_content("x.safetensors", data)
    assert content.tensors[0].size_bytes == size
    assert content != read_content("x.safetensors", data[:-1] + b"x")


def test_tensors_that_share_a_storage_are_read_apart():
    content = read_content("tensors.pt", (GOLDEN / "tensors.pt").read_bytes())
    shapes = {t.name: t.shape for t in content.tensors}
    assert (shapes["transposed"], shapes["strided"], shapes["tail"]) == ((4, 6), (2, 2), (19,))


# --- digests of content -----------------------------------------------------------------------------------------------


def test_the_order_in_a_file_and_its_metadatas_order_do_not_count():
    a, b = np.ones(3, dtype="<f4"), np.zeros(2, dtype="<i8")
    one = safetensors({"a": a, "b": b}, {"x": "1", "y": "2"})
    two = safetensors({"b": b, "a": a}, {"y": "2", "x": "1"})
    assert one != two
    assert read_content("m.safetensors", one).content_digest() == read_content("m.safetensors", two).content_digest()


@pytest.mark.parametrize(
    "other",
    [
        {"w": np.array([0.0, -0.0], dtype="<f4")},
        {"w": np.array([[0.0, 0.0]], dtype="<f4")},
        {"w": np.array([0, 0], dtype="<f8")},
        {"v": np.array([0.0, 0.0], dtype="<f4")},
        {"w": np.array([0.0, 0.0], dtype="<f4"), "x": np.array([], dtype="<f4")},
        {},
    ],
)
def test_sign_of_zero_shape_dtype_and_name_count(other):
    base = read_content("m.safetensors", safetensors({"w": np.array([0.0, 0.0], dtype="<f4")}))
    assert read_content("m.safetensors", safetensors(other)).content_digest() != base.content_digest()


def test_payloads_of_nan_count():
    one, two = (np.array([bits], dtype="<u4").view("<f4") for bits in (0x7FC00000, 0x7FC00001))
    digests = {read_content("m.safetensors", safetensors({"w": a})).content_digest() for a in (one, two)}
    assert len(digests) == 2


def test_precision_tells_when_a_wide_tensor_holds_narrow_values():
    full = np.linspace(0.1, 0.9, 32, dtype="<f4")
    rounded = {"half": full.astype("<f2").astype("<f4"), "brain": (full.view("<u4") & 0xFFFF0000).view("<f4")}
    content = read_content("m.safetensors", safetensors({"full": full, **rounded, "zero": np.zeros(32, dtype="<f4")}))
    assert {t.name: t.precision for t in content.tensors} == {
        "full": "float32",
        "half": "float16",
        "brain": "bfloat16",
        "zero": "float32",
    }


def test_volatile_keys_are_keys_of_json_and_of_nothing_else():
    one, two = ({"loss": 1.0, "time": at, "run": {"time": at, "id": at}} for at in (5, 6))
    keys = ["time", "run/id"]
    found = [read_content("c.json", json.dumps(value).encode(), keys) for value in (one, two)]
    assert found[0] == found[1] and found[0].left_out == (("run/id", 1), ("time", 2))
    found = [read_content("c.pt", pickled(value), keys) for value in (one, two)]
    assert found[0] != found[1] and found[0].left_out == ()
    assert read_content("w.safetensors", safetensors({"time": np.ones(3)}), ["*"]).tensors


def test_a_document_of_which_nothing_is_left_says_so():
    assert read_content("m.json", b'{"acc": 1}', ["acc"]).is_empty
    assert not read_content("m.json", b"{}", ["acc"]).is_empty


def test_an_equal_sha256_is_needed_for_other_files():
    assert read_content("a.txt", b"x").content_digest() != read_content("a.txt", b"y").content_digest()
    assert isinstance(read_content("a.txt", b""), Content)


# --- JSON -------------------------------------------------------------------------------------------------------------


def test_json_is_compared_by_value():
    one, two = b'{"a": 1.0, "b": [1, {"c": null}]}', b'{"b":[1,{"c":null}],\n"a":1.0}'
    assert read_content("r.json", one).content_digest() == read_content("r.json", two).content_digest()
    assert values(one, "r.json") == {"a": "1.0", "b/0": "1", "b/1/c": "null"}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ('{"a": 1, "a": 2}', '{"a": 3, "a": 2}'),
        ("[1e999]", "[2e999]"),
        ("[-0.0]", "[0.0]"),
        ("[-0]", "[0]"),
        ("[NaN]", "[-NaN]"),
        ("[Infinity]", "[1e999]"),
        ("[123456789012345678901234567890]", "[123456789012345678901234567891]"),
        ('{"\\ud800": 1}', '{"\\\\ud800": 1}'),
        ('{"0": 1}', "[1]"),
        ("[0.1]", "[0.10000000000000001]"),
    ],
)
@pytest.mark.parametrize("name", ["m.json", "m.jsonl"])
def test_where_json_is_in_doubt_its_bytes_decide(name, one, two):
    assert read_content(name, one.encode()) != read_content(name, two.encode())


def test_the_doubt_is_told():
    assert read_content("m.json", b'{"a": 1, "a": 2}').doubt == "a key comes twice"


def test_a_step_that_a_resume_writes_again_counts_once():
    straight = b'{"step":1,"loss":2.0,"s":0.1}\n{"step":2,"loss":1.0,"s":0.2}\n'
    resumed = b'{"step":1,"loss":2.0,"s":0.3}\n{"step":2,"loss":1.0,"s":0.4}\n{"step":2,"loss":1.0,"s":0.5}\n'
    digests = [read_content("m.jsonl", data, ["s"]).content_digest() for data in (straight, resumed)]
    assert digests[0] == digests[1]


def test_a_step_that_is_written_again_with_another_value_counts():
    data = b'{"step":2,"loss":1.0}\n{"step":2,"loss":1.5}\n{"final":true}\n'
    assert values(data, "m.jsonl") == {
        "step=2/step": "2",
        "step=2/loss": "1.0",
        "step=2#2/step": "2",
        "step=2#2/loss": "1.5",
        "row=1/final": "true",
    }


def test_nan_in_a_log_is_a_value():
    assert values(b'{"step":1,"loss":NaN}\n', "m.jsonl")["step=1/loss"] == "nan"


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[" * 100_000, b'{"a":' + b"9" * 5000 + b"}", b""])
def test_what_is_no_json_counts_by_its_bytes(data):
    assert values(data, "r.json") == {"": f"bytes:sha256:{hashlib.sha256(data).hexdigest()}"}


def test_rows_of_one_step_take_time_in_proportion():
    data = b"".join(b'{"step":1,"x":%d}\n' % number for number in range(30_000))
    begin = time.process_time()
    assert len(values(data, "m.jsonl")) == 60_000
    assert time.process_time() - begin < 15  # half a second; each row against all others took minutes


TOO_MUCH = "needs more than .* MiB of memory, the bound for a file of"
LONG_KEY = b"k" * 1_900


@pytest.mark.parametrize("name", ["m.json", "m.jsonl"])
def test_json_of_which_the_paths_are_much_longer_than_the_file_counts_by_its_bytes(name):
    data = b'{"' + LONG_KEY * 10 + b'":[' + b",".join([b"1"] * 8_000) + b"]}"
    content = read_content(name, data)
    assert content.format == "bytes"
    assert re.search(TOO_MUCH, content.doubt)


@pytest.mark.parametrize(
    "items",
    [
        b"}X" + struct.pack("<I", len(LONG_KEY)) + LONG_KEY + b"](" + b"K\x01" * 100_000 + b"es",  # in each item's path
        b"X\xff\xff\x00\x00" + b"a" * 65_535 + b"q\x000](" + b"h\x00" * 3_000 + b"e",  # one text, named again and again
        b"(" + b"]" * 800_000 + b"1N",
    ],
    ids=["paths", "texts", "lists"],
)
def test_a_pickle_that_describes_much_more_than_its_size_is_refused(items):
    with pytest.raises(EvidenceError, match=TOO_MUCH):
        read_content("x.pt", archive(b"\x80\x02" + items + b"."))


def test_a_key_of_keys_of_keys_is_refused_before_it_is_written_out():
    key = b"X\x00\x10\x00\x00" + b"a" * 4096 + b"q\x000"
    key += b"".join(
        b"(" + b"h" + bytes([n]) + (b"h" + bytes([n])) * 15 + b"tq" + bytes([n + 1]) + b"0" for n in range(3)
    )
    with pytest.raises(EvidenceError, match="a key that is no scalar"):
        read_content("x.pt", archive(b"\x80\x02" + key + b"}h\x03Ns."))


# --- safetensors ------------------------------------------------------------------------------------------------------


def raw_safetensors(header: object, body: bytes = b"\0" * 8) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "header"),
        (b"\0" * 7, "header"),
        (struct.pack("<Q", 1 << 40), "header"),
        (raw_safetensors([]), "no JSON object"),
        (raw_safetensors(b"{"), "no JSON"),
        (raw_safetensors(b"[" * 50_000), "nested|no JSON"),
        (raw_safetensors(b'{"a":{},"a":{}}'), "twice"),
        (raw_safetensors({"w": {**F32, "data_offsets": [0, 9]}}), "outside"),
        (raw_safetensors({"w": {**F32, "data_offsets": [-8, 0]}}), "outside"),
        (raw_safetensors({"w": {**F32, "shape": [1 << 62, 1 << 61]}}), "outside|shape"),
        (raw_safetensors({"w": {**F32, "shape": [-2]}}), "shape"),
        (raw_safetensors({"w": {**F32, "dtype": "F3"}}), "not read"),
        (raw_safetensors({"w": {**F32, "more": 1}}), "without"),
        (raw_safetensors({"w": 5}), "without"),
        (raw_safetensors({"v": F32, "w": F32}), "overlap"),
        (raw_safetensors({"w": {**F32, "shape": [1], "data_offsets": [4, 8]}}), "gap"),
        (raw_safetensors({"w": {**F32, "shape": [1], "data_offsets": [0, 4]}}), "end at 4 of 8"),
        (raw_safetensors({"__metadata__": {"a": 1}, "w": F32}), "metadata"),
    ],
)
def test_a_malformed_safetensors_file_is_refused(data, match):
    with pytest.raises(EvidenceError, match=match):
        read_content("m.safetensors", data)


def test_random_damage_to_safetensors_is_an_evidence_error_or_other_content():
    data, chance = (GOLDEN / "tensors.safetensors").read_bytes(), random.Random(3)
    original = read_content("m.safetensors", data).content_digest()
    num_refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        place = chance.randrange(len(damaged))
        damaged[place] ^= 1 << chance.randrange(8)
        try:
            assert read_content("m.safetensors", bytes(damaged)).content_digest() != original
        except EvidenceError:
            num_refused += 1
    assert num_refused > 50


# --- archives ---------------------------------------------------------------------------------------------------------


def test_compressed_members_are_refused():
    with pytest.raises(EvidenceError, match="compressed"):
        read_content("x.pt", archive(pickle.dumps({"a": "b" * 1000}), compression=zipfile.ZIP_DEFLATED))


def test_the_same_member_twice_is_refused():
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as file, pytest.warns(UserWarning):
        file.writestr("a/data.pkl", pickle.dumps(1))
        file.writestr("a/data.pkl", pickle.dumps(2))
    with pytest.raises(EvidenceError, match="twice"):
        read_content("x.pt", buffer.getvalue())


def test_a_wrong_crc_is_refused():
    data = bytearray(pickled({"a": "needle"}))
    place = data.index(b"needle")
    data[place] = ord("N")
    with pytest.raises(EvidenceError, match="CRC"):
        read_content("x.pt", bytes(data))


@pytest.mark.parametrize("size", [0, 3, 30, 200, 5000, 20_000])
def test_a_torn_checkpoint_is_refused(size):
    with pytest.raises(EvidenceError, match=r"torn|archive"):
        read_content("x.pt", (GOLDEN / "checkpoint.pt").read_bytes()[:size])


def test_overlapping_members_are_refused():
    data = bytearray(archive(pickle.dumps(1), {"0": b"12345678"}))
    first, second = data.index(b"PK\x01\x02"), data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    with pytest.raises(EvidenceError, match=r"another's|overlap"):
        read_content("x.pt", bytes(data))


def test_an_archive_without_a_pickle_is_refused():
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("readme", "x")
    with pytest.raises(EvidenceError, match=r"data\.pkl"):
        read_content("x.pt", buffer.getvalue())


def test_another_byte_order_is_refused():
    with pytest.raises(EvidenceError, match="byte order"):
        read_content("x.pt", archive(pickle.dumps(1), byteorder=b"big"))


def test_members_that_no_tensor_uses_count_too():
    one, two = (archive(pickle.dumps(1), {"7": data}) for data in (b"12345678", b"12345679"))
    assert read_content("x.pt", one).content_digest() != read_content("x.pt", two).content_digest()


def test_random_damage_to_an_archive_is_an_evidence_error_or_the_same_content():
    """A bit that is no part of the content (padding, a date) may change; nothing else passes, and nothing crashes."""
    data, chance = (GOLDEN / "checkpoint.pt").read_bytes(), random.Random(4)
    original = read_content("x.pt", data).content_digest()
    num_refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            assert read_content("x.pt", bytes(damaged)).content_digest() == original
        except EvidenceError:
            num_refused += 1
    assert num_refused > 150


PEAK = """
import os, re, sys
from pathlib import Path
from harness.evidence.content import read_content
from harness.judge.controls import check_tensor_bit
from harness.evidence.zip_file import read_zips
def peak():
    return int(re.search("VmHWM: *\\s+([0-9]+)", Path("/proc/self/status").read_text())[1]) >> 10
from harness.system.safe_read import OpenFile
data = OpenFile(os.open(sys.argv[1], os.O_RDONLY), "large")
before = peak()
{call}
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory is counted otherwise")
@pytest.mark.parametrize(
    ("call", "max_mib"),
    [
        ("read_zips(data, 'x')", 16),
        ("read_content('x.safetensors', data)", 16),
        ("check_tensor_bit('x.safetensors', data)", 16),
    ],
)
def test_a_large_file_is_never_in_memory(tmp_path, call, max_mib):
    if call.startswith("read_zip"):
        data = archive(b"", {str(n): bytes(24 << 20) for n in range(8)})
    else:
        data = safetensors({f"t{n}": np.full(6 << 20, n, dtype="<f4") for n in range(8)})
    (tmp_path / "large").write_bytes(data)
    command = [sys.executable, "-c", PEAK.format(call=call), str(tmp_path / "large")]
    answer = subprocess.run(command, cwd=GOLDEN.parents[2], capture_output=True, text=True, check=True).stdout
    assert int(answer) < max_mib
