import pytest

from harness.errors import HostError
from harness.packages.debian import fetch_packages, mirrors
from harness.system.store import Store
from tests.made.archives import base_of, deb, member


def silent(_):
    pass


@pytest.fixture
def mirror(tmp_path):
    (tmp_path / "mirror" / "pool" / "main" / "x").mkdir(parents=True)
    return tmp_path / "mirror"


@pytest.fixture
def locked(tmp_path, mirror):
    """A lock of two packages, which the mirror has."""
    packages = {name: deb(name, member(name, b"x")) for name in ("one", "two")}
    for name, data in packages.items():
        (mirror / "pool" / "main" / "x" / f"{name}_1.0_all.deb").write_bytes(data)
    return base_of(tmp_path, **packages)[0]


def environment(mirror):
    return {"HARNESS_DEBIAN_MIRROR": mirror.as_uri() + "/"}


def test_packages_are_fetched_from_the_mirror_that_is_set_once(tmp_path, mirror, locked):
    store = Store(tmp_path / "cache")
    told = []
    found = fetch_packages(locked.packages, store, environment(mirror), told.append)
    assert [path.read_bytes()[:8] for path in found] == [b"!<arch>\n"] * 2
    assert len(told) == 1
    assert fetch_packages(locked.packages, store, {"HARNESS_DEBIAN_MIRROR": "file:///nowhere"}, told.append) == found
    assert len(told) == 1


def test_a_package_that_the_mirror_has_with_other_bytes_is_not_taken(tmp_path, mirror, locked):
    (mirror / "pool" / "main" / "x" / "two_1.0_all.deb").write_bytes(deb("two", member("evil", b"x")))
    store = Store(tmp_path / "cache")
    with pytest.raises(HostError, match=r"1 of the locked Debian packages cannot be had: two 1\.0\n"):
        fetch_packages(locked.packages, store, environment(mirror), silent)
    assert not store.blob(locked.packages[1].sha256).exists()
    assert store.blob(locked.packages[0].sha256).exists()


def test_a_package_that_is_gone_is_an_error_with_a_remedy(tmp_path, mirror, locked):
    (mirror / "pool" / "main" / "x" / "one_1.0_all.deb").unlink()
    with pytest.raises(HostError) as caught:
        fetch_packages(locked.packages, Store(tmp_path / "cache"), environment(mirror), silent)
    assert "one 1.0" in caught.value.problem
    assert mirror.as_uri() in caught.value.problem
    assert "HARNESS_DEBIAN_SNAPSHOT" in caught.value.remedy and "HARNESS_ARCHIVE" in caught.value.remedy
    assert not list((tmp_path / "cache" / "scratch").iterdir())


def test_a_package_that_is_gone_from_the_mirror_is_fetched_from_the_snapshot_that_is_set(tmp_path, mirror, locked):
    (tmp_path / "snapshot" / "pool" / "main" / "x").mkdir(parents=True)
    name = "pool/main/x/one_1.0_all.deb"
    (mirror / name).rename(tmp_path / "snapshot" / name)
    places = {**environment(mirror), "HARNESS_DEBIAN_SNAPSHOT": (tmp_path / "snapshot").as_uri()}
    found = fetch_packages(locked.packages, Store(tmp_path / "cache"), places, silent)
    assert [path.read_bytes()[:8] for path in found] == [b"!<arch>\n"] * 2


def test_a_package_that_is_gone_everywhere_is_taken_from_an_archive(tmp_path, mirror, locked):
    archive = Store(tmp_path / "archive")
    kept = fetch_packages(locked.packages, archive, environment(mirror), silent)
    assert kept == tuple(archive.blob(package.sha256) for package in locked.packages)
    store = Store(tmp_path / "cache", (archive.root,))
    found = fetch_packages(locked.packages, store, {"HARNESS_DEBIAN_MIRROR": "file:///nowhere"}, silent)
    assert found == tuple(store.blob(package.sha256) for package in locked.packages)


def test_the_mirrors_that_are_set_are_the_only_ones_but_for_the_snapshot(mirror):
    assert mirrors({"HARNESS_DEBIAN_MIRROR": "file:///a/ file:///b"}) == ("file:///a", "file:///b")
    places = {"HARNESS_DEBIAN_MIRROR": "file:///a/", "HARNESS_DEBIAN_SNAPSHOT": "file:///c/"}
    assert mirrors(places) == ("file:///a", "file:///c")


def test_without_apt_and_without_a_mirror_nothing_can_be_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="no mirror of Debian is known") as caught:
        mirrors({})
    assert "HARNESS_DEBIAN_MIRROR" in caught.value.remedy
