import os

import pytest
from made_archives import deb, member, wheel

from harness.core.experiment_input import Input
from harness.core.lockfile import digest_of
from harness.errors import EnvironmentError_, UsageError
from harness.host.inputs import materialise, unpack_deb, unpack_wheel
from harness.host.store import Store


def silent(_):
    pass


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "unpacked").mkdir()
    return tmp_path / "unpacked"


def packed(tmp_path, data, name="package"):
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


def listing(tree):
    return sorted(str(path.relative_to(tree)) for path in tree.rglob("*") if not path.is_dir() or path.is_symlink())


def cached(store, kind, data):
    """An input whose package is in the cache already, so that nothing has to be fetched."""
    digest = digest_of(data)
    store.blob(digest).parent.mkdir(parents=True, exist_ok=True)
    store.blob(digest).write_bytes(data)
    return Input(name="x", kind=kind, reference="x1", version="1", sha256=digest)


def test_a_file_below_the_project_is_verified_where_it_lies(store, tmp_path):
    (tmp_path / "data.txt").write_bytes(b"text")
    value = Input(name="text", kind="file", reference="data.txt", sha256=digest_of(b"text"))
    assert materialise(value, store, tmp_path, silent) == tmp_path / "data.txt"


def test_a_file_with_another_sha256_is_refused_and_both_are_told(store, tmp_path):
    (tmp_path / "data.txt").write_bytes(b"other")
    value = Input(name="text", kind="file", reference="data.txt", sha256=digest_of(b"text"))
    with pytest.raises(UsageError) as caught:
        materialise(value, store, tmp_path, silent)
    assert f"expected: {digest_of(b'text')}" in str(caught.value)
    assert f"found:    {digest_of(b'other')}" in str(caught.value)


def test_a_file_that_is_not_there_is_named(store, tmp_path):
    value = Input(name="text", kind="file", reference="gone.txt", sha256=digest_of(b""))
    with pytest.raises(UsageError, match=r"gone.txt is no file"):
        materialise(value, store, tmp_path, silent)


def test_a_link_out_of_the_project_is_refused(store, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "secret").write_bytes(b"s")
    (tmp_path / "root" / "link").symlink_to("../secret")
    value = Input(name="text", kind="file", reference="link", sha256=digest_of(b"s"))
    with pytest.raises(UsageError, match="leaves the project"):
        materialise(value, store, tmp_path / "root", silent)


def test_a_debian_packages_files_are_unpacked_once(store, tmp_path):
    value = cached(store, "deb", deb("x1", member("./usr/", kind="dir"), member("./usr/data", b"d", mode=0o600)))
    first = materialise(value, store, tmp_path, silent)
    assert (first / "usr" / "data").read_bytes() == b"d"
    store.blob(value.sha256).unlink()
    assert materialise(value, store, tmp_path, silent) == first


def test_a_wheels_files_are_unpacked_once(store, tmp_path):
    value = cached(store, "pypi", wheel(("x1/data.txt", b"d"), ("x1-1.dist-info/METADATA", b"m")))
    first = materialise(value, store, tmp_path, silent)
    assert listing(first) == ["x1-1.dist-info/METADATA", "x1/data.txt"]


def test_a_failure_while_unpacking_leaves_no_tree(store, tmp_path):
    value = cached(store, "deb", deb("x1", member("./good", b"g"), member("./bad", kind="char")))
    with pytest.raises(UsageError, match="device"):
        materialise(value, store, tmp_path, silent)
    assert list((store.root / "inputs").iterdir()) == []
    assert list((store.root / "scratch").iterdir()) == []


def test_a_cached_package_that_was_changed_is_not_used(store, tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_DEBIAN_MIRROR", (tmp_path / "no-mirror").as_uri())
    value = cached(store, "deb", deb("x1", member("./a", b"a")))
    store.blob(value.sha256).write_bytes(b"changed")
    with pytest.raises(EnvironmentError_, match="no mirror gave"):
        materialise(value, store, tmp_path, silent)


def test_a_debian_package_is_fetched_from_the_mirror_that_is_set(store, tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_DEBIAN_MIRROR", (tmp_path / "mirror").as_uri())
    data = deb("x1", member("./a", b"a"))
    pool = tmp_path / "mirror" / "pool" / "main" / "x" / "x1"
    pool.mkdir(parents=True)
    (pool / "x1_1_all.deb").write_bytes(data)
    value = Input(name="x", kind="deb", reference="x1", version="1", sha256=digest_of(data))
    assert listing(materialise(value, store, tmp_path, silent)) == ["a"]
    wrong = Input(name="x", kind="deb", reference="x1", version="1", sha256=digest_of(b"other"))
    with pytest.raises(UsageError) as caught:
        materialise(wrong, store, tmp_path, silent)
    assert digest_of(b"other") in str(caught.value)
    assert digest_of(data) in str(caught.value)


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
