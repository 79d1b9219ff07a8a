import os

import pytest

from harness.errors import UsageError
from harness.inputs.unpacking import unpack_deb, unpack_wheel
from tests.made.archives import deb, member, wheel


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "unpacked").mkdir()
    return tmp_path / "unpacked"


def packed(tmp_path, data, name="package"):
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


def test_links_that_stay_in_a_package_are_kept_and_absolute_ones_become_relative(tmp_path, tree):
    package = deb(
        "x1",
        member("./usr/share/one", b"1"),
        member("./usr/share/near", kind="symlink", linkname="one"),
        member("./usr/lib/far", kind="symlink", linkname="/usr/share/one"),
        member("./usr/lib/up", kind="symlink", linkname="../share/one"),
        member("./usr/share/same", kind="hardlink", linkname="./usr/share/one"),
    )
    unpack_deb(packed(tmp_path, package), tree)
    assert {
        (tree / name).read_bytes() for name in ("usr/share/near", "usr/lib/far", "usr/lib/up", "usr/share/same")
    } == {b"1"}
    assert os.readlink(tree / "usr/lib/far") == "../share/one"


@pytest.mark.parametrize(
    "bad",
    [
        member("../evil", b"x"),
        member("/etc/evil", b"x"),
        member("usr/../../evil", b"x"),
        member("link", kind="symlink", linkname="../evil"),
        member("usr/link", kind="symlink", linkname="../../evil"),
        member("link", kind="hardlink", linkname="../evil"),
        member("link", kind="hardlink", linkname="gone"),
        member("null", kind="char", devmajor=1, devminor=3),
        member("pipe", kind="fifo"),
    ],
)
def test_a_debian_package_that_climbs_or_holds_devices_is_refused(tmp_path, tree, bad):
    with pytest.raises(UsageError):
        unpack_deb(packed(tmp_path, deb("x1", bad)), tree)
    assert not (tmp_path / "evil").exists()


def test_nothing_is_written_through_a_link_of_the_package(tmp_path, tree):
    package = deb("x1", member("d/", kind="dir"), member("l", kind="symlink", linkname="d"), member("l/file", b"x"))
    with pytest.raises(UsageError, match="through a link"):
        unpack_deb(packed(tmp_path, package), tree)
    assert not (tree / "d" / "file").exists()


def test_a_path_that_comes_twice_is_refused(tmp_path, tree):
    with pytest.raises(UsageError, match="twice"):
        unpack_deb(packed(tmp_path, deb("x1", member("a", b"1"), member("a", b"2"))), tree)


def test_a_package_that_is_too_large_is_refused_before_it_fills_the_disk(tmp_path, tree):
    package = packed(tmp_path, deb("x1", member("zeros", b"\0" * 10_000_000)))
    assert package.stat().st_size < 20_000
    with pytest.raises(UsageError, match="more than 1000000 bytes"):
        unpack_deb(package, tree, max_bytes=1_000_000)
    zeros = packed(tmp_path, wheel(("zeros", b"\0" * 10_000_000)))
    with pytest.raises(UsageError, match="1000000 are allowed"):
        unpack_wheel(zeros, tree, max_bytes=1_000_000)


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil"])
def test_a_wheel_that_climbs_is_refused(tmp_path, tree, name):
    with pytest.raises(UsageError, match="leaves it"):
        unpack_wheel(packed(tmp_path, wheel((name, b"x"))), tree)
    assert not (tmp_path / "evil").exists()


def test_a_wheel_with_a_symbolic_link_is_refused(tmp_path, tree):
    with pytest.raises(UsageError, match="no regular file"):
        unpack_wheel(packed(tmp_path, wheel(("link", b"/etc/passwd"), links=("link",))), tree)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_torn_package_is_refused(tmp_path, tree, share):
    for data, unpack in (
        (wheel(("a", os.urandom(3000))), unpack_wheel),
        (deb("a", member("a", b"x" * 3000)), unpack_deb),
    ):
        with pytest.raises(UsageError):
            unpack(packed(tmp_path, data[: int(len(data) * share)]), tree)


def test_a_wheel_with_a_damaged_member_is_refused(tmp_path, tree):
    data = bytearray(wheel(("a", os.urandom(3000))))
    data[500] ^= 255
    with pytest.raises(UsageError, match="torn"):
        unpack_wheel(packed(tmp_path, bytes(data)), tree)


def test_an_unpacked_tree_has_no_times_of_its_own(tmp_path, tree):
    unpack_deb(packed(tmp_path, deb("x1", member("d/a", b"1"), member("d/l", kind="symlink", linkname="a"))), tree)
    assert {path.lstat().st_mtime for path in [tree, *tree.rglob("*")]} == {0}
