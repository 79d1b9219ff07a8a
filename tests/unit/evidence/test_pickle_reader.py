import collections
import os
import pickle
import pickletools
import random
from pathlib import Path

import pytest

from harness.errors import EvidenceError
from harness.evidence.content import open_file, read_content
from harness.evidence.pickle_reader import read_pickle
from tests.unit.evidence.test_content import archive, pickled, values

GOLDEN = Path(__file__).parents[2] / "golden" / "torch"


class Trap:
    """Writes a file when it is unpickled for real."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_nothing_in_a_pickle_is_ever_run(tmp_path):
    target = tmp_path / "ran"
    data = pickle.dumps({"a": Trap(target)})
    content = read_content("x.pt", archive(data))
    assert not target.exists()
    assert content.opaque == (("a", "posix.system"),)
    assert dict(content.values)["a/<arguments>/0"] == f'"touch {target}"'
    pickle.loads(data)
    assert target.exists(), "the trap does work when it is unpickled"


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_read_from_every_protocol(protocol):
    value = {
        "dict": {"a": 1, "b": {}},
        "list": [1, -2.5, "x", None, True],
        "tuple": (1, (2,)),
        "set": {3, 1},
        "frozen": frozenset(["y"]),
        "bytes": b"\x00\x80",
        "ordered": collections.OrderedDict(z=1),
        "huge": -(1 << 100),
        "complex": 1 + 2j,
        5: "five",
        "5": "text",
        1.5: "x",
        None: "none",
        True: "yes",
        (1, "a"): "pair",
        "default": collections.defaultdict(list, k=[1]),
        "slash/~": 0,
        "": 1,
        "0.weight": 2,
    }
    found = values(pickled(value, protocol))
    assert (
        found["dict/a"] == "1" and found["dict/b"] == "{}" and found["list/1"] == "-2.5" and found["list/4"] == "true"
    )
    assert found["tuple/1/0"] == "2" and found["set/0"] == "1" and found["set/1"] == "3" and found["frozen/0"] == '"y"'
    assert (
        found["bytes"].startswith("bytes:sha256:") and found["ordered/z"] == "1" and found["huge"] == str(-(1 << 100))
    )
    assert (
        found["complex"] == "(1+2j)" and found["5"] == '"five"' and found['"5"'] == '"text"' and found["1.5"] == '"x"'
    )
    assert found["None"] == '"none"' and found["True"] == '"yes"' and found["(1,'a')"] == '"pair"'
    assert found["default/k/0"] == "1" and found["slash~1~0"] == "0" and found['""'] == "1" and found["0.weight"] == "2"


def test_every_protocol_gives_the_same_content():
    value = {"a": [1, 2.5, "x"], "b": b"raw", "c": {1, 2}, "d": 1 << 70}
    digests = {read_content("x.pt", pickled(value, protocol)).content_digest() for protocol in range(2, 6)}
    assert len(digests) == 1


def test_an_unknown_class_keeps_its_name_and_its_state():
    one, two = (pickled(collections.Counter(a=count)) for count in (1, 2))
    digests = {read_content("x.pt", data).content_digest() for data in (one, two)}
    assert len(digests) == 2
    assert read_content("x.pt", one).opaque == (("", "collections.Counter"),)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "exhausted|malformed"),
        (b".", "exactly one"),
        (b"N", "malformed"),
        (b"NN.", "exactly one"),
        (b"(.", "exactly one"),
        (b"t.", "mark"),
        (b"0.", "empty stack"),
        (b"(0N.", None),
        (b"g5\n.", "never set"),
        (b"}Ns.", "empty stack"),
        (b"}(Nu.", "no dict|malformed"),
        (b"Na.", "empty stack"),
        (b"NNa.", "no list"),
        (b"]]N\x86s.", "empty stack|no dict"),
        (b"}]Ns.", "no scalar"),
        (b"\x82\x01.", "EXT1"),
        (b"P1\n.", "PERSID"),
        (b"NQ.", "no storage"),
        (b"\x80\x04NN\x93.", "no string"),
        (b"p-5\n.", "malformed"),
        (b"I99x\n.", "malformed"),
        (b"X\xff\xff\xff\x7fabc.", "malformed"),
        (b"I" + b"9" * 5000 + b"\n.", "malformed"),
    ],
)
def test_malformed_pickles_are_refused_in_words(data, match):
    if match is None:
        assert read_pickle(data, "x").value is None
        return
    with pytest.raises(EvidenceError, match=match):
        read_pickle(data, "x")


def test_a_value_that_contains_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(EvidenceError, match="contains itself"):
        read_content("x.pt", pickled(loop))


def test_deep_nesting_is_refused_without_recursion():
    deep = b"(" * 100_000 + b"t" * 100_000 + b"."
    with pytest.raises(EvidenceError, match="nested too deeply"):
        read_content("x.pt", archive(deep))
    with pytest.raises(EvidenceError):
        read_content("x.pt", archive(b"}" + b"(" * 50_000 + b"t" * 50_000 + b"Ns."))


def test_a_small_pickle_that_unfolds_to_a_billion_values_is_refused():
    # Each list holds the one before it ten times: ten to the power of twelve leaves in a few hundred bytes.
    level = b"]q\x00"
    for n in range(12):
        level += b"0](" + b"h" + bytes([n]) + (b"h" + bytes([n])) * 9 + b"eq" + bytes([n + 1])
    with pytest.raises(EvidenceError, match="needs more than 128 MiB"):
        read_content("x.pt", archive(level + b"."))


def tensor_pickle(key="0", numel=4, offset=0, size=(4,), stride=(1,), storage="FloatStorage"):
    """What torch.save writes for one tensor, opcode by opcode."""

    def integer(value):
        return b"I%d\n" % value

    def text(value):
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    def numbers(values):
        return b"(" + b"".join(integer(v) for v in values) + b"t"

    persistent = (
        b"(" + text("storage") + b"ctorch\n%s\n" % storage.encode() + text(key) + text("cpu") + integer(numel) + b"tQ"
    )
    args = (
        b"("
        + persistent
        + integer(offset)
        + numbers(size)
        + numbers(stride)
        + b"I00\n"
        + b"ccollections\nOrderedDict\n)R"
        + b"t"
    )
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + args + b"R."


STORAGE = bytes(range(16))


def test_a_tensor_is_built_from_its_storage_without_torch():
    raw = open_file("x.pt", archive(tensor_pickle(size=(2, 2), stride=(1, 2)), {"0": STORAGE}))
    (tensor,) = raw.tensors
    assert (tensor.dtype, tensor.shape) == ("float32", (2, 2))
    assert bytes(tensor.data()) == STORAGE[0:4] + STORAGE[8:12] + STORAGE[4:8] + STORAGE[12:16]


@pytest.mark.parametrize(
    "change",
    [
        {"key": "1"},
        {"key": "../data.pkl"},
        {"numel": 5},
        {"numel": 3},
        {"offset": 1},
        {"size": (5,)},
        {"stride": (2,)},
        {"size": (2, 2), "stride": (4, 1)},
        {"size": (1 << 61,), "stride": (1,)},
        {"storage": "DoubleStorage"},
    ],
)
def test_a_tensor_outside_its_storage_is_refused(change):
    with pytest.raises(EvidenceError, match=r"outside its storage|without its storage"):
        read_content("x.pt", archive(tensor_pickle(**change), {"0": STORAGE}))


def test_an_expanded_tensor_of_an_absurd_size_is_refused():
    with pytest.raises(EvidenceError, match="much larger than the file"):
        read_content("x.pt", archive(tensor_pickle(size=(1 << 40,), stride=(0,)), {"0": STORAGE}))


def test_a_layout_that_is_not_known_is_a_name_and_not_a_guess():
    negative = read_content("x.pt", archive(tensor_pickle(offset=-1), {"0": STORAGE}))
    assert negative.opaque == (("", "torch._utils._rebuild_tensor_v2"),)
    assert [tensor.name for tensor in negative.tensors] == ["<arguments>/0"]
    with pytest.raises(EvidenceError, match="no storage"):
        read_content("x.pt", archive(tensor_pickle(storage="OtherStorage"), {"0": STORAGE}))


@pytest.mark.filterwarnings("ignore:invalid escape sequence")  # of pickletools, about the damage
def test_random_damage_to_a_pickle_is_never_more_than_an_evidence_error():
    chance = random.Random(5)
    members = open_members()
    original, storages = members["data.pkl"], {k: v for k, v in members.items() if k.startswith("data/")}
    num_read = 0
    for _ in range(600):
        damaged = bytearray(original)
        for _ in range(chance.randint(1, 5)):
            place = chance.randrange(len(damaged))
            kind = chance.random()
            if kind < 0.6:
                damaged[place] = chance.randrange(256)
            elif kind < 0.8:
                del damaged[place : place + chance.randint(1, 9)]
            else:
                damaged[place:place] = bytes([chance.choice(OPCODES)])
        try:
            read_content("x.pt", archive(bytes(damaged), {k.removeprefix("data/"): v for k, v in storages.items()}))
            num_read += 1
        except EvidenceError:
            pass
    assert 0 < num_read < 600


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
def test_random_opcodes_are_never_more_than_an_evidence_error():
    chance = random.Random(6)
    for _ in range(3000):
        data = b"".join(
            bytes([chance.choice(OPCODES)]) + (chance.randbytes(chance.randint(0, 3)) if chance.random() < 0.4 else b"")
            for _ in range(chance.randint(1, 30))
        )
        try:
            read_pickle(data + b".", "x")
        except EvidenceError:
            pass


OPCODES = [ord(opcode.code) for opcode in pickletools.opcodes]


def open_members():
    import zipfile

    with zipfile.ZipFile(GOLDEN / "checkpoint.pt") as file:
        return {name.partition("/")[2]: file.read(name) for name in file.namelist()}
