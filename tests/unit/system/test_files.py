"""The files of a folder, read without trust."""

import os

import pytest

from harness.errors import EvidenceError
from harness.system.files import FolderFiles, as_files


@pytest.fixture
def files(tmp_path):
    (tmp_path / "root" / "a").mkdir(parents=True)
    (tmp_path / "root" / "a" / "b.txt").write_bytes(b"text")
    (tmp_path / "root" / "link").symlink_to("a/b.txt")
    (tmp_path / "outside").write_bytes(b"secret")
    (tmp_path / "root" / "out").symlink_to("../outside")
    return FolderFiles(tmp_path / "root")


def test_files_are_read_by_their_relative_names(files):
    assert bytes(files.read("a/b.txt", max_bytes=4)) == b"text"
    assert bytes(files.below("a").read("b.txt", max_bytes=4)) == b"text"
    assert (files.name, files.below("a").name) == ("root", "a")


@pytest.mark.parametrize("path", ["link", "out", "../outside", "/etc/passwd", "a", "", "none", "a/../a/b.txt", "a\0b"])
def test_whatever_is_no_file_below_the_root_is_refused(files, path):
    with pytest.raises(EvidenceError):
        files.read(path, max_bytes=100)


def test_sizes_are_bounded(files):
    with pytest.raises(EvidenceError, match="4 bytes, at most 3"):
        files.read("a/b.txt", max_bytes=3)


def test_walking_tells_files_from_links(files, tmp_path):
    os.mkfifo(tmp_path / "root" / "a" / "pipe")
    assert [*files.walk("a")] == [("b.txt", True), ("pipe", False)]
    assert [*files.walk("")] == [("a/b.txt", True), ("a/pipe", False), ("link", False), ("out", False)]
    with pytest.raises(EvidenceError, match="root: there is no folder none"):
        [*files.walk("none")]


def test_what_exists_is_told_within_the_root_only(files):
    assert files.exists("a") and files.exists("a/b.txt") and files.exists("link")
    assert not files.exists("none") and not files.exists("../outside") and not files.exists("")


def test_a_path_is_taken_as_its_files(tmp_path):
    files = FolderFiles(tmp_path)
    assert as_files(tmp_path) == files and as_files(files) is files


def test_a_file_that_is_written_to_while_it_is_read_is_an_error_in_words(tmp_path):
    (tmp_path / "growing").write_bytes(b"1234")
    (tmp_path / "same").write_bytes(b"1234")
    opened, other = (FolderFiles(tmp_path).read(name, max_bytes=10) for name in ("growing", "same"))
    with (tmp_path / "growing").open("ab") as stream:
        stream.write(b"5")
    with pytest.raises(EvidenceError, match="changed while it was read"):
        opened[0:2]
    os.utime(tmp_path / "same", (1, 1))
    with pytest.raises(EvidenceError, match="changed while it was read"):
        bytes(other)
