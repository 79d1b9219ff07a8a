"""What a full archive must hold is named by locks and inputs; only the words for licences are its own."""

import json

import pytest

from harness.archive.dependencies import Dependencies, check_licences
from harness.documents.inputs import Input
from harness.documents.lockfile import BaseLock, BasePackage, Lockfile, Pin, Wheel
from harness.errors import TamperedError


def digest(digit):
    return "sha256:" + digit * 64


WHEEL = Wheel(filename="six-1.0-py3-none-any.whl", size_bytes=5, sha256=digest("1"))
LOCK = Lockfile(
    pins=(
        Pin(name="six", version="1.0", hashes=(digest("1"),), wheel=WHEEL),
        Pin(name="only-elsewhere", version="2", hashes=(digest("9"),), marker="sys_platform == 'win32'"),
    ),
    digest=digest("0"),
)
PACKAGE = BasePackage(
    name="libc6", version="1:2.36-9", architecture="amd64", size_bytes=1, sha256=digest("2"), pool_path="pool/x.deb"
)
INPUTS = (
    Input(name="text", kind="file", reference="data.txt", sha256=digest("3")),
    Input(name="model", kind="hf", reference="o/n", version="7" * 40, sha256=digest("4")),
)
WANTED = Dependencies(
    lock=LOCK, base_lock=BaseLock(packages=(PACKAGE,), digest=digest("8")), inputs=INPUTS, image_id=digest("7")
)


def test_every_wheel_package_and_input_has_a_title():
    assert WANTED.titles(lambda listing: {digest("4"): (digest("5"), digest("6"))}[listing]) == {
        "debs/libc6_1:2.36-9_amd64.deb": digest("2"),
        "inputs/" + "3" * 64: digest("3"),
        "inputs/" + "4" * 64: digest("4"),
        "inputs/" + "5" * 64: digest("5"),
        "inputs/" + "6" * 64: digest("6"),
        "wheels/six-1.0-py3-none-any.whl": digest("1"),
    }


def test_without_containers_no_debian_package_belongs_to_a_run():
    alone = Dependencies(lock=LOCK, base_lock=WANTED.base_lock, inputs=(), image_id=None)
    assert list(alone.titles(lambda _: ())) == ["wheels/six-1.0-py3-none-any.whl"]
    assert json.loads(alone.licences({}).write())["debs"] == {}


def test_licences_are_listed_for_all_of_them_and_not_stated_where_nothing_is_said():
    said = {"wheels/six-1.0-py3-none-any.whl": "MIT", "inputs/" + "4" * 64: "apache-2.0"}
    value = json.loads(WANTED.licences(said).write())
    assert value["wheels"] == {"six-1.0-py3-none-any.whl": {"name": "six", "version": "1.0", "licence": "MIT"}}
    assert value["debs"]["libc6_1:2.36-9_amd64.deb"]["licence"] == "not stated"
    assert {name: row["licence"] for name, row in value["inputs"].items()} == {
        "text": "not stated",
        "model": "apache-2.0",
    }


def test_a_list_of_licences_is_held_against_the_packages():
    data = WANTED.licences({"debs/libc6_1:2.36-9_amd64.deb": "LGPL-2.1"}).write()
    check_licences(data, WANTED)
    check_licences(data.replace(b"LGPL-2.1", b"GPL-9"), WANTED)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"\n",
        lambda data: data.replace(b'"six"', b'"Six"'),
        lambda data: data.replace(b'"not stated"', b'""', 1),
        lambda data: data.replace(b'"not stated"', b"null", 1),
        lambda data: data.replace(b'{"debs"', b'{"debs":{},"debs"'),
        lambda data: data.replace(b"six-1.0", b"six-1.1"),
        lambda data: b"{}",
        lambda data: b"[]",
        lambda data: b"\xff",
        lambda data: b'{"debs":[]}',
        lambda data: b"[" * 100_000,
    ],
)
def test_any_other_list_is_refused(change):
    with pytest.raises(TamperedError, match=r"LICENSES\.json"):
        check_licences(change(WANTED.licences({}).write()), WANTED)
