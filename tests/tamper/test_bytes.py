"""Every single byte of an archive counts: whichever is changed, the archive is no longer consistent."""

import os
import random
from concurrent.futures import ProcessPoolExecutor

import pytest

from harness.errors import TamperedError, UsageError
from harness.verify.verify import verify
from tests.tamper.made_archive import made, silent
from tests.tamper.made_run import EXPERIMENT, Plan

SMALL = Plan(
    only=("straight", "rerun"),
    has_controls=False,
    has_tensors=False,
    experiment=EXPERIMENT.replace("interruptions: [{kind: micro_batch, step: 6, micro_batch: 1}]\n", "").replace(
        "required: [rerun, resume]", "required: [rerun]"
    ),
)


@pytest.fixture(scope="module")
def small(tmp_path_factory, config_home):
    """The smallest archive that a certify leaves; that nothing of it is missing is seen by its being consistent."""
    found = made(tmp_path_factory.mktemp("bytes"), SMALL, names=("byte-signer", "byte-attacker"))
    assert verify(found.archive, None, None, silent).is_consistent
    return found.archive


def regions(data):
    """Where each tar block begins, and what it is: header, contents, padding, end."""
    offset, found = 0, []
    while offset < len(data) and data[offset : offset + 512] != bytes(512):
        size = int(data[offset + 124 : offset + 135], 8)
        end = offset + 512 + size
        padded = offset + 512 + size + (-size % 512)
        found += [("header", offset, offset + 512), ("contents", offset + 512, end), ("padding", end, padded)]
        offset = padded
    return [*found, ("end", offset, len(data))]


def survivors(path, places):
    """The places at which a changed byte is not noticed."""
    data = bytearray(path.read_bytes())
    copy = path.with_name(f"changed-{os.getpid()}-{places[0][0]}.oci.tar")
    copy.write_bytes(data)
    found = []
    with copy.open("r+b", buffering=0) as stream:
        for place, bits in places:
            stream.seek(place)
            stream.write(bytes([data[place] ^ bits]))
            try:
                if verify(copy, None, None, silent).word != "TAMPERED":
                    found.append(place)
            except (TamperedError, UsageError) as error:
                assert error.exit_code in (2, 5)
            stream.seek(place)
            stream.write(bytes([data[place]]))
    copy.unlink()
    return found


def test_a_changed_byte_anywhere_in_headers_contents_padding_and_end_is_noticed(small):
    """A sample from each member's header, contents and padding; all bytes are changed in the slow test below."""
    data = small.read_bytes()
    random.seed(20)
    places = []
    for kind, begin, end in regions(data):
        wanted = {"header": 12, "contents": 8, "padding": 2, "end": 24}[kind]
        places += random.sample(range(begin, end), min(wanted, end - begin))
    assert len(places) > 500
    assert survivors(small, [(place, random.choice((1, 2, 4, 8, 16, 32, 64, 128, 255))) for place in places]) == []


def test_an_archive_cut_anywhere_is_noticed(small, tmp_path):
    data = small.read_bytes()
    copy = tmp_path / "cut.oci.tar"
    ends = (len(data) - 1024, len(data) - 512, len(data) - 1)
    for size in (0, 1, 511, 512, 513, 1024, *range(5000, len(data), 9973), *ends):
        copy.write_bytes(data[:size])
        try:
            found = verify(copy, None, None, silent)
            assert (found.word, found.kind, found.level) == ("TAMPERED", "archive", "evidence"), size
        except UsageError:
            assert size < 512, size


@pytest.mark.slow
def test_every_single_byte_changed_in_turn_is_noticed(small):
    data = small.read_bytes()
    places = [(place, 1 << place % 8) for place in range(len(data))]
    parts = [places[n : n + 4000] for n in range(0, len(places), 4000)]
    with ProcessPoolExecutor(2) as pool:
        found = [place for part in pool.map(survivors, [small] * len(parts), parts) for place in part]
    assert found == [], f"{len(found)} of {len(data)} bytes do not count, first at {found[0]}"
