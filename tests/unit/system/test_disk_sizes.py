import os

import pytest

from harness.system.disk_sizes import Measure, Quota, delete, walk


def blocks(path):
    return path.lstat().st_blocks * 512


def test_a_tree_is_the_sum_of_its_blocks_without_following_links(tmp_path):
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "file").write_bytes(b"x" * 100_000)
    outside.mkdir()
    (outside / "large").write_bytes(b"x" * 1_000_000)
    (tree / "link").symlink_to(outside)
    (tree / "self").symlink_to(tree)
    size = Measure().count(tree)
    assert size == sum(
        blocks(path) for path in (tree, tree / "deep", tree / "deep" / "file", tree / "link", tree / "self")
    )
    assert 100_000 <= size < 1_000_000


def test_a_sparse_file_takes_what_it_takes(tmp_path):
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(1 << 30)
    assert Measure().count(tmp_path / "sparse") < 1 << 20


def test_a_file_with_two_names_is_counted_with_the_last_of_them(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    measure = Measure()
    assert measure.count(tmp_path / "a") == 0
    assert measure.count(tmp_path / "b") == blocks(tmp_path / "a")


def test_a_file_that_keeps_a_name_elsewhere_frees_nothing(tmp_path):
    (tmp_path / "kept").write_bytes(b"x" * 100_000)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").hardlink_to(tmp_path / "kept")
    assert Measure().count(tmp_path / "tree") == blocks(tmp_path / "tree")


def test_what_vanishes_meanwhile_is_left_out(tmp_path):
    assert list(walk(tmp_path / "gone")) == []


@pytest.mark.parametrize(("name", "num_levels"), [("d", 1200), ("n" * 250, 36)])
def test_a_tree_that_is_too_deep_for_a_path_is_told_and_deleted(tmp_path, name, num_levels):
    (tmp_path / "output").mkdir()
    folder = os.open(tmp_path / "output", os.O_RDONLY)
    for _ in range(num_levels):
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    quota = Quota([tmp_path / "output"], 1)
    assert quota.is_over()
    assert quota.excess == "it made paths of more than 64 levels or 3000 bytes: what it wrote was removed"
    delete(tmp_path / "output")
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_deleted_and_what_it_points_at_stays(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "inner").symlink_to(tmp_path / "kept")
    delete(tmp_path / "link")
    delete(tmp_path / "tree")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "kept"]


def as_somebody(function):
    """Run in a child that is not root, whom modes mean nothing to; returns its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            function()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_folder_without_permission_to_write_is_opened_up_and_deleted(tmp_path, mode):
    place = tmp_path / "place"
    (place / "tree" / "locked" / "deep").mkdir(parents=True)
    (place / "tree" / "locked" / "file").touch()
    if os.geteuid() == 0:
        for path in (place, *place.rglob("*")):
            os.chown(path, 65534, 65534)
        for parent in tmp_path.parents[:3]:
            parent.chmod(parent.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    (place / "tree" / "locked").chmod(mode)
    assert as_somebody(lambda: delete(place / "tree")) == 0
    assert not (place / "tree").exists()
