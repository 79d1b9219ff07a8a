"""Canonical tar archives: what is written is read, and anything that could be written in another way is refused."""

import io
import tarfile

import pytest

from harness.archive.tar import read_members
from harness.errors import TamperedError
from harness.images.layer import END_OF_ARCHIVE, Entry, header, padding

ENTRIES = (
    Entry(path="a", kind="file", size=3),
    Entry(path="b" * 101, kind="file", size=0),
    Entry(path="é", kind="symlink", mode=0o777, link="c" * 150),
    Entry(path="x" * 100, kind="file", mode=0o755, size=512),
)


def archive(entries=ENTRIES):
    return b"".join(header(e) + b"z" * e.size + padding(e.size) for e in entries) + END_OF_ARCHIVE


def read(data, max_members=100):
    return [*read_members(data, "it", max_members=max_members)]


def test_members_come_back_with_the_place_of_their_contents():
    data = archive()
    found = read(data)
    assert tuple(entry for entry, _ in found) == ENTRIES
    assert [data[begin : begin + entry.size] for entry, begin in found] == [b"zzz", b"", b"", b"z" * 512]


def test_an_archive_without_members_is_one():
    assert read(END_OF_ARCHIVE) == []


def test_a_size_beyond_a_header_is_read_from_its_extension():
    entry = Entry(path="a", kind="file", size=8**11)
    data = header(entry)

    class Zeros:
        """The header, and zeros behind it that nobody has to hold."""

        def __len__(self):
            return len(data) + 8**11 + 1024

        def __getitem__(self, place):
            begin, end, _ = place.indices(len(self))
            return data[begin:end] + bytes(end - max(begin, len(data)) if end > len(data) else 0)

    assert [*read_members(Zeros(), "it", max_members=1)] == [(entry, len(data))]


@pytest.mark.parametrize("size", [0, 1, 511, 512, 1024, len(archive()) - 512, len(archive()) - 1])
def test_a_truncated_archive_is_refused(size):
    with pytest.raises(TamperedError):
        read(archive()[:size])


@pytest.mark.parametrize("more", [b"\0", bytes(512), bytes(9216), b"x" * 512, archive()])
def test_whatever_follows_the_end_is_refused(more):
    with pytest.raises(TamperedError, match="does not end"):
        read(archive() + more)


def test_padding_is_zero():
    data = bytearray(archive())
    data[512 + 3] = 1
    with pytest.raises(TamperedError, match="behind its contents"):
        read(bytes(data))


def test_the_number_of_members_is_bounded():
    with pytest.raises(TamperedError, match="more than 3 members"):
        read(archive(), max_members=3)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_headers_of_other_programs_are_refused(form):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        info = tarfile.TarInfo("a")
        info.mtime = 5
        tar.addfile(info)
    with pytest.raises(TamperedError):
        read(stream.getvalue())


@pytest.mark.parametrize(
    "records",
    [
        {"mtime": "1.5"},
        {"path": "other"},
        {"size": "0"},
        {"comment": "x" * 100},
        {"path": "b" * 101, "comment": "x"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
    ],
)
def test_extensions_that_say_more_than_they_must_are_refused(records):
    info = tarfile.TarInfo("a")
    info.pax_headers = records
    with pytest.raises(TamperedError):
        read(info.tobuf(tarfile.PAX_FORMAT) + END_OF_ARCHIVE)


@pytest.mark.parametrize("body", [b"", b"5 a=\n", b"99999 path=x\n", b"0 path=x\n", b"11 size=-1\n", b"\xff" * 40])
def test_extensions_that_cannot_be_read_are_refused(body):
    block = bytearray(header(Entry(path="././@PaxHeader", kind="file", size=len(body))))
    block[156:157] = b"x"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    with pytest.raises(TamperedError):
        read(bytes(block) + body + padding(len(body)) + header(ENTRIES[0]) + END_OF_ARCHIVE)


def test_two_extensions_of_one_member_are_refused():
    long = header(Entry(path="b" * 101, kind="file"))
    with pytest.raises(TamperedError):
        read(long[:-512] + long + END_OF_ARCHIVE)


def test_a_number_in_base_256_is_refused():
    block = bytearray(header(ENTRIES[0]))
    block[124:136] = b"\x80" + (3).to_bytes(11, "big")
    with pytest.raises(TamperedError, match="number"):
        read(bytes(block) + b"zzz" + padding(3) + END_OF_ARCHIVE)
