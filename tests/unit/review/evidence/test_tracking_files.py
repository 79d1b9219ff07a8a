import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from harness.errors import EvidenceError
from harness.review.evidence.tracking_files import Series, Text, TrackedRun, read_tensorboard, read_wandb
from harness.review.evidence.tracking_records import MAX_FILE_BYTES, WANDB_HEADER, masked_crc32c
from tests.made.event_files import combine

SCRIPT = Path(__file__).parent / "scripts" / "write_tracking_files.py"
READERS = {"tensorboard": read_tensorboard, "wandb": read_wandb}


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """The bytes of files that the libraries wrote, by tracker and name."""
    python = os.environ.get("HARNESS_TEST_TORCH_PYTHON") or sys.executable
    look = "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ('torch', 'tensorboard', 'wandb'))))"
    if subprocess.run([python, "-c", look], check=False).returncode:
        pytest.skip(f"{python} has no torch, tensorboard and wandb; HARNESS_TEST_TORCH_PYTHON names one that has")
    folder = tmp_path_factory.mktemp("tracking")
    done = subprocess.run([python, str(SCRIPT), str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    files = {}
    for path in [*folder.rglob("events.out.tfevents.*"), *folder.rglob("*.wandb")]:
        kind, *names = path.relative_to(folder).parts[:-1]
        files[kind, "/".join(names) if kind == "tensorboard" else names[0]] = path.read_bytes()
    return files


@pytest.fixture(scope="session")
def first(written):
    return written["tensorboard", "first"]


@pytest.fixture(scope="session")
def plain(written):
    return written["wandb", "plain"]


def steps(run):
    return {series.name: series.steps for series in run.series}


def tf_record(body):
    header = struct.pack("<Q", len(body))
    return header + struct.pack("<I", masked_crc32c(header)) + body + struct.pack("<I", masked_crc32c(body))


def chunk(body, kind=1):
    return struct.pack("<IHB", zlib.crc32(bytes([kind]) + body), len(body), kind) + body


def test_the_checksum_is_that_of_the_standard():
    # RFC 3720, B.4: 32 bytes of zeros have the CRC-32C 8a9136aa.
    crc = 0x8A9136AA
    assert masked_crc32c(bytes(32)) == ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def test_an_event_file_says_which_steps_were_logged(first):
    run = read_tensorboard(first)
    assert steps(run) == {"train/loss": (0, 1, 2, 3, 4, 5), "validation/loss": (3,)}
    assert run.texts == (
        Text(name="checkpoint/paths", step=3, value="checkpoints/latest.pt ü"),
        Text(name="config", step=0, value="seed: 17"),
    )
    assert run.has_config and run.torn_bytes == 0 and run.num_records == 10


def test_points_in_tensors_and_steps_below_zero_and_beyond_32_bits_are_read(written):
    run = read_tensorboard(written["tensorboard", "tensors"])
    assert run.series == (Series(name="train/loss", steps=(-3, 2**40)),)
    assert not run.has_config


def test_hyperparameters_are_a_configuration(written):
    run = read_tensorboard(written["tensorboard", "hparams/run"])
    assert run.config_keys == ("bf16", "lr", "name") and run.has_config


def test_a_resume_purges_what_it_repeats(first, written):
    resumed = read_tensorboard(written["tensorboard", "resumed"])
    assert resumed.purged_from == 4
    both = combine([read_tensorboard(first), resumed])
    assert steps(both) == {"train/loss": (0, 1, 2, 3, 4, 5, 6, 7), "validation/loss": (3,)}
    assert both.has_config and both.num_records == 10 + resumed.num_records
    assert steps(combine([resumed, read_tensorboard(first)]))["train/loss"] == (4, 5, 6, 7, 0, 1, 2, 3, 4, 5)


def test_a_long_text_is_kept_up_to_a_bound(written):
    assert len(read_tensorboard(written["tensorboard", "long"]).texts[0].value) == 4096
    assert len(read_wandb(written["wandb", "long"]).texts[0].value) == 4096


def test_an_offline_run_says_which_steps_were_logged(plain):
    run = read_wandb(plain)
    assert steps(run) == {
        "train/loss": (0, 1, 2, 3, 4, 5),
        "nested.a": (0, 1, 2, 3, 4, 5),
        "nan": (6,),
        "yes": (6,),
    }
    assert run.texts == (Text(name="checkpoint/paths", step=6, value='checkpoints/"latest".pt ü'),)
    assert run.config_keys == ("seed", "training") and run.has_config
    assert run.run_id == "id-plain" and run.torn_bytes == 0


def test_values_in_wandbs_typed_form_are_read(written):
    run = read_wandb(written["wandb", "typed"])
    assert steps(run) == {"count": (2,), "loss": (2,), "yes": (2,)}
    assert run.texts == (Text(name="text", step=2, value="a"),)
    assert run.config_keys == ("late",)


def test_records_in_several_pieces_and_blocks_are_read(written):
    data = written["wandb", "long"]
    assert len(data) > 4 * 32768
    run = read_wandb(data)
    assert steps(run) == {f"key{key}": tuple(range(300)) for key in range(10)}
    assert not run.has_config


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_a_file_that_ends_anywhere_is_read_up_to_there(kind, first, plain):
    data, whole = (first, read_tensorboard(first)) if kind == "tensorboard" else (plain, read_wandb(plain))
    counts = []
    for length in range(len(data)):
        run = READERS[kind](data[:length])
        counts.append(run.num_records)
        for name, logged in steps(run).items():
            assert steps(whole)[name][: len(logged)] == logged
        if run.torn_bytes == 0 and run.num_records:
            assert READERS[kind](data[: length - 1]).torn_bytes > 0
    assert counts == sorted(counts) and set(counts) == set(range(whole.num_records))


def test_every_flipped_bit_of_an_event_file_is_an_error_with_its_place(first):
    for offset in range(len(first)):
        damaged = bytearray(first)
        damaged[offset] ^= 1 << offset % 8
        with pytest.raises(EvidenceError, match=r"run7, byte \d+: ") as caught:
            read_tensorboard(bytes(damaged), "run7")
        assert int(str(caught.value).split("byte ")[1].split(":")[0]) <= offset


def test_no_flipped_bit_of_an_offline_run_goes_unnoticed(plain):
    errors = 0
    for offset in range(len(plain)):
        damaged = bytearray(plain)
        damaged[offset] ^= 1 << offset % 8
        try:
            run = read_wandb(bytes(damaged))
        except EvidenceError as error:
            errors += 1
            assert "byte " in str(error)
        else:  # a length that now goes beyond the file looks like a torn end
            assert run.torn_bytes > 0
    assert errors > 0.9 * len(plain)


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_nothing_written_is_nothing_logged(kind):
    run = READERS[kind](b"")
    assert run == TrackedRun(
        kind=kind, series=(), texts=(), config_keys=(), has_config=False, num_records=0, torn_bytes=0
    )


def test_a_record_that_claims_an_exabyte_is_refused(first):
    header = struct.pack("<Q", 1 << 60)
    data = first + header + struct.pack("<I", masked_crc32c(header)) + b"x"
    with pytest.raises(EvidenceError, match=f"byte {len(first)}: a record claims to have {1 << 60} bytes"):
        read_tensorboard(data)


def test_a_file_larger_than_any_is_refused_before_it_is_read():
    class Large(bytes):
        def __len__(self):
            return MAX_FILE_BYTES + 1

    for read in READERS.values():
        with pytest.raises(EvidenceError, match="bytes, more than"):
            read(Large())


VERSION = b"\x1a\x0dbrain.Event:2"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bytes(1000), "byte 0: the checksum"),
        (tf_record(b""), "does not name the format"),
        (tf_record(b"\x1a\x02no"), "does not name the format"),
        (tf_record(VERSION) + tf_record(b"\x2a\x7f"), "goes beyond its message"),
        (tf_record(VERSION) + tf_record(b"\x10" + b"\xff" * 10), "more than 10 bytes"),
        (tf_record(VERSION) + tf_record(b"\x10\xff"), "an integer goes beyond"),
        (tf_record(VERSION) + tf_record(b"\x28\x01"), "field 5 is an integer"),
        (tf_record(VERSION) + tf_record(b"\x12\x01x"), "field 2 is no integer"),
        (tf_record(VERSION) + tf_record(b"\x0b"), "unknown kind 3"),
        (tf_record(VERSION) + tf_record(b"\x00\x00"), "number 0"),
        (tf_record(VERSION) + 101 * tf_record(b"\x3a\x02\x08\x01"), "more than 100 sessions"),
    ],
)
def test_hostile_event_files_are_errors(data, words):
    with pytest.raises(EvidenceError, match=words):
        read_tensorboard(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"PK\x03\x04", "no header"),
        (b":W&B\xe1\xbe\x01", "no header of a .wandb file of version 0"),
        (WANDB_HEADER + bytes(100), "a piece of kind 0"),
        (WANDB_HEADER + chunk(b"x", kind=5), "a piece of kind 5"),
        (WANDB_HEADER + chunk(b"\x10\x01", kind=3), "do not follow"),
        (WANDB_HEADER + chunk(b"x", kind=2) + chunk(b"x", kind=1), "do not follow"),
        (WANDB_HEADER + b"\0\0\0\0\xff\xff\x01" + bytes(40000), "its block has room for 32754"),
        (WANDB_HEADER + chunk(bytes(32768 - 7 - 7 - 3), kind=2) + b"\0\1\0", "the end of a block is not zero"),
        (WANDB_HEADER + chunk(b"\x12\x7f"), "goes beyond its message"),
        (WANDB_HEADER + chunk(b'\x12\x08\x0a\x06\x82\x01\x03"\\x'), "a text is no JSON"),
    ],
)
def test_hostile_offline_runs_are_errors(data, words):
    with pytest.raises(EvidenceError, match=words):
        read_wandb(data)


def test_values_that_are_nested_too_deeply_to_be_parsed_are_passed_over():
    value = b"[" * 30000
    item = b"\x82\x01" + bytes([len(value) & 127 | 128, len(value) >> 7 & 127 | 128, len(value) >> 14]) + value
    row = b"\x0a" + bytes([len(item) & 127 | 128, len(item) >> 7 & 127 | 128, len(item) >> 14]) + item
    body = b"\x12" + bytes([len(row) & 127 | 128, len(row) >> 7 & 127 | 128, len(row) >> 14]) + row
    assert read_wandb(WANDB_HEADER + chunk(body)).series == ()
