"""Copies of folders: holes stay holes, links stay links, and a disk that is too small is seen beforehand."""

import os
import shutil
import stat

import pytest

from harness.system.copies import copy_tree


def test_a_sparse_file_stays_sparse_and_has_the_same_bytes(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    with (source / "big").open("wb") as file:
        file.truncate(1 << 30)
        for place in (0, 5000, (512 << 20) + 7, (1 << 30) - 3):
            file.seek(place)
            file.write(b"abc")
    (source / "empty").write_bytes(b"")
    (source / "holes").touch()
    os.truncate(source / "holes", 1 << 30)
    (source / "link").symlink_to("big")
    copy_tree(source, tmp_path / "copy")
    copy = tmp_path / "copy" / "big"
    assert copy.stat().st_size == 1 << 30 and copy.stat().st_blocks * 512 < 1 << 20
    assert (tmp_path / "copy" / "holes").stat().st_size == 1 << 30
    with copy.open("rb") as file:
        for place in (0, 5000, (512 << 20) + 7, (1 << 30) - 3):
            file.seek(place)
            assert file.read(3) == b"abc"
    assert (tmp_path / "copy" / "link").readlink().name == "big"


def test_a_disk_that_is_too_small_is_seen_before_anything_is_copied(tmp_path, monkeypatch):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"x" * 100_000)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match="are free"):
        copy_tree(tmp_path / "source", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_what_may_have_no_end_is_not_copied(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    if os.geteuid() == 0:
        os.mknod(source / "zero", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    else:
        os.mkfifo(source / "pipe")
    with pytest.raises(OSError, match="no file, folder or link"):
        copy_tree(source, tmp_path / "copy")
