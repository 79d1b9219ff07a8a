import hashlib
import io
import tarfile

import pytest

from harness.errors import HostError, UsageError
from harness.images.base import build_base, keep_base, python_of
from harness.images.layer import Entry
from harness.images.layer_tar import encode
from harness.system.store import Store
from tests.made.archives import base_of, deb, member


def shell(**options):
    return deb(
        "shell",
        member("./bin/", kind="dir"),
        member("./bin/sh", b"#!", mode=0o755),
        member("./usr/", kind="dir"),
        member("./usr/share/doc/shell/copyright", b"(c)"),
        member("./usr/share/doc/shell/changelog.gz", b"long"),
        member("./usr/share/man/man1/sh.1.gz", b"long"),
        member("./usr/share/locale/de/sh.mo", b"long"),
        **options,
    )


def library(**options):
    return deb(
        "library",
        member("./lib/", kind="dir"),
        member("./lib/x86_64-linux-gnu/liba.so.1.2", b"elf"),
        member("./lib/x86_64-linux-gnu/liba.so.1", kind="symlink", linkname="liba.so.1.2"),
        member("./lib/x86_64-linux-gnu/libb.so", kind="hardlink", linkname="./lib/x86_64-linux-gnu/liba.so.1.2"),
        member("./usr/", kind="dir"),
        **options,
    )


def built(tmp_path, **packages):
    lock, files = base_of(tmp_path, **packages)
    return build_base("base-test", lock, files, Store(tmp_path / "cache"), afresh=False)


def members(base):
    data = b"".join(encode(base.image.layers[0].entries))
    assert base.image.layers[0].digest == "sha256:" + hashlib.sha256(data).hexdigest()
    archive = tarfile.open(fileobj=io.BytesIO(data))
    return {info.name: info for info in archive}, archive


def link(path, target):
    return Entry(path=path, kind="symlink", mode=0o777, link=target)


BINARY = Entry(path="usr/bin/python3.12", kind="file")


@pytest.mark.parametrize(
    ("entries", "path", "expected"),
    [
        ((BINARY, link("usr/bin/python3", "python3.12")), None, "3.12"),
        ((BINARY, link("bin", "usr/bin"), link("usr/bin/python3", "/bin/python3.12")), "PATH=/bin", "3.12"),
        (
            (BINARY, link("usr/bin/python3", "python3.12"), link("opt/python3", "python3.10")),
            "PATH=/opt:/usr/bin",
            "3.12",
        ),
        ((BINARY, link("usr/bin/python3", "python3.12")), "PATH=/opt/bin", ""),
        ((Entry(path="usr/bin/python3", kind="file"),), None, ""),
        ((link("usr/bin/python3", "python3"),), None, ""),
        ((), None, ""),
    ],
)
def test_the_python_of_a_base_is_the_one_that_its_path_finds(tmp_path, entries, path, expected):
    config = {"architecture": "amd64", "os": "linux", "config": {"Env": [path] if path else None}}
    base = keep_base("x", "sha256:" + "0" * 64, tuple(entries), config, Store(tmp_path / "cache"))
    assert python_of(base) == expected


def test_packages_are_laid_into_a_merged_usr_tree(tmp_path):
    found, archive = members(built(tmp_path, shell=shell(), library=library()))
    assert {name: found[name].linkname for name in ("bin", "lib", "lib64", "sbin")} == {
        "bin": "usr/bin",
        "lib": "usr/lib",
        "lib64": "usr/lib64",
        "sbin": "usr/sbin",
    }
    assert archive.extractfile("usr/bin/sh").read() == b"#!"
    assert found["usr/bin/sh"].mode == 0o755
    assert found["usr/lib/x86_64-linux-gnu/liba.so.1"].linkname == "liba.so.1.2"
    assert found["usr/lib/x86_64-linux-gnu/libb.so"].linkname == "usr/lib/x86_64-linux-gnu/liba.so.1.2"
    assert not [name for name in found if name.startswith(("bin/", "lib/"))]


def test_documentation_is_left_out_and_copyright_stays(tmp_path):
    found, _ = members(built(tmp_path, shell=shell()))
    assert [name for name in found if name.startswith("usr/share/") and found[name].isreg()] == [
        "usr/share/doc/shell/copyright"
    ]


def test_every_folder_on_the_way_to_a_file_is_there_before_it(tmp_path):
    found, _ = members(built(tmp_path, shell=shell(), library=library()))
    seen = {""}
    for name in found:
        assert name.rpartition("/")[0] in seen
        seen.add(name)


def test_users_are_root_nobody_and_the_one_who_trains(tmp_path):
    found, archive = members(built(tmp_path, shell=shell()))
    lines = archive.extractfile("etc/passwd").read().decode().splitlines()
    assert [line.split(":")[:4:2] for line in lines] == [["root", "0"], ["nobody", "65534"], ["trainer", "1000"]]
    assert (found["home/trainer"].uid, found["home/trainer"].mode) == (1000, 0o700)
    assert found["tmp"].mode == 0o1777


def test_scanners_find_every_package(tmp_path):
    _, archive = members(built(tmp_path, shell=shell(), library=library()))
    record = archive.extractfile("var/lib/dpkg/status.d/library").read().decode()
    assert record.startswith("Package: library\nVersion: 1.0\n")
    assert "Status: install ok installed\n" in record


def test_the_base_is_a_function_of_the_files_in_the_packages(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    one = built(tmp_path / "one", shell=shell(mtime=1), library=library(mtime=1))
    other = built(tmp_path / "other", shell=shell(mtime=2, compression="gz"), library=library(mtime=3, compression=""))
    assert one.image.image_id == other.image.image_id
    assert one.tag == other.tag


def test_a_changed_byte_in_a_package_changes_the_base(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    one = built(tmp_path / "one", a=deb("a", member("./usr/x", b"1")))
    other = built(tmp_path / "other", a=deb("a", member("./usr/x", b"2")))
    assert one.image.image_id != other.image.image_id


def test_a_base_in_the_cache_is_used_and_a_torn_one_is_made_again(tmp_path):
    lock, files = base_of(tmp_path, shell=shell())
    store = Store(tmp_path / "cache")
    first = build_base("base-test", lock, files, store, afresh=False)
    (layer,) = (tmp_path / "cache" / "bases").glob("*.tar")
    for path in files:
        path.unlink()
    assert build_base("base-test", lock, files, store, afresh=False).image.image_id == first.image.image_id
    layer.write_bytes(layer.read_bytes()[:-512])
    with pytest.raises(HostError, match="shell"):
        build_base("base-test", lock, files, store, afresh=False)


def test_two_packages_with_one_path_are_refused_by_name(tmp_path):
    with pytest.raises(UsageError, match=r"two packages hold usr/bin/x: a and b"):
        built(tmp_path, a=deb("a", member("./bin/x", b"1")), b=deb("b", member("./usr/bin/x", b"1")))


def test_a_package_may_not_replace_the_bases_own_files(tmp_path):
    with pytest.raises(UsageError, match="etc/passwd"):
        built(tmp_path, a=deb("a", member("./etc/passwd", b"evil")))


def test_a_package_that_is_another_than_the_locked_one_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"holds b 1.0, not a 1.0"):
        built(tmp_path, a=deb("b", member("./usr/x", b"1")))
    with pytest.raises(UsageError, match=r"holds a 2.0, not a 1.0"):
        built(tmp_path, a=deb("a", member("./usr/x", b"1"), version="2.0"))


def test_a_package_whose_path_climbs_is_refused(tmp_path):
    with pytest.raises(UsageError, match="leaves it"):
        built(tmp_path, a=deb("a", member("../../etc/x", b"1")))


@pytest.mark.parametrize("cut", [4, 60, 130, -40, -1])
def test_a_torn_package_is_refused(tmp_path, cut):
    whole = deb("a", member("./usr/x", b"1" * 5000), compression="gz")
    with pytest.raises(UsageError, match=r"torn|not a Debian package"):
        built(tmp_path, a=whole[:cut])
