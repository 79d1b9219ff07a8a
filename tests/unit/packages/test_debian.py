import pytest

from harness.errors import HostError
from harness.packages import debian
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


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A machine that is no Debian: Ubuntu's apt, and the data of two packages that may be installed."""
    data = tmp_path / "Debian.info", tmp_path / "debootstrap"
    monkeypatch.setattr(debian, "_NAMED_IN", data)
    monkeypatch.setattr(debian, "_has_apt", lambda: True)
    monkeypatch.setattr(debian, "_ask", lambda *command: "Ubuntu|Ubuntu|http://mirror.test/ubuntu/\n")
    return data


def test_where_apt_is_not_debians_an_installed_package_names_the_mirror(elsewhere):
    with pytest.raises(HostError, match="no mirror of Debian is known") as caught:
        mirrors({})
    assert "debootstrap" in caught.value.remedy and "HARNESS_DEBIAN_MIRROR" in caught.value.remedy
    elsewhere[1].write_text('DEF_MIRROR="http://mirror.test/debian"\nDEF_HTTPS_MIRROR="https://mirror.test/debian"\n')
    assert mirrors({}) == ("http://mirror.test/debian", "https://mirror.test/debian")
    text = "Suite: sid\nBaseURI: http://other.test/debian/\nSuite: s\nBaseURI: http://other.test/debian-security/\n"
    elsewhere[0].write_text(text + "BaseURI: http://security.test/\n")
    assert mirrors({}) == ("http://other.test/debian",)
    assert mirrors({"HARNESS_DEBIAN_MIRROR": "file:///a"}) == ("file:///a",)


def test_before_apt_get_update_the_mirrors_are_those_that_look_like_debians(monkeypatch):
    addresses = "http://mirror.test/debian/\nhttp://mirror.test/debian-security/\nhttp://mirror.test/ubuntu/\n"
    monkeypatch.setattr(debian, "_has_apt", lambda: True)
    monkeypatch.setattr(debian, "_ask", lambda *command: addresses if "--no-release-info" in command else "")
    assert mirrors({}) == ("http://mirror.test/debian",)


def test_where_apt_is_not_debians_a_base_lock_needs_debians_keys(tmp_path, elsewhere, monkeypatch):
    (tmp_path / "lockfiles").mkdir()
    (tmp_path / "lockfiles" / "base-bookworm.in").write_text("dash\n")
    monkeypatch.setattr(debian, "_KEYRING", tmp_path / "none.gpg")
    with pytest.raises(HostError, match="Debian's keys") as caught:
        debian.write_base_lock(tmp_path, "base-bookworm", Store(tmp_path / "cache"), {}, silent)
    assert "debian-archive-keyring" in caught.value.remedy


def test_without_apt_a_snapshot_will_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(debian, "_NAMED_IN", ())
    assert mirrors({"HARNESS_DEBIAN_SNAPSHOT": "file:///c/"}) == ("file:///c",)
