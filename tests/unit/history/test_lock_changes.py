"""What differs between two locks, the locks in between, and which of these are consistent."""

import pytest

from harness.documents.history import PinChange
from harness.documents.lockfile import Lockfile, Pin, Wheel, digest_of, parse_lock
from harness.documents.platform import USUAL
from harness.history.lock_changes import Fit, mixed_lock, pin_changes


def pin(name, version, build="", wheel=True, more=()):
    sha = digest_of(f"{name} {version} {build}".encode())
    file = Wheel(filename=f"{name}-{version}-py3-none-any.whl", size_bytes=10, sha256=sha) if wheel else None
    return Pin(name=name, version=version, hashes=tuple(sorted((sha, *more))), wheel=file)


def lock(*pins, **fields):
    return Lockfile(pins=pins, digest="", target=USUAL, **fields)


def test_changed_added_and_removed_pins_are_told():
    before = lock(pin("a", "1"), pin("b", "1"), pin("c", "1"))
    found = pin_changes(before, lock(pin("a", "2"), pin("b", "1"), pin("d", "1")))
    assert [str(change) for change in found] == ["a 1 -> 2", "c 1 removed", "d 1 added"]
    assert found[1].to_json() == {"name": "c", "before": "1", "after": None}


def test_another_file_of_the_same_version_is_a_change_and_a_lock_that_names_no_wheel_is_none():
    assert pin_changes(lock(pin("a", "1", "one")), lock(pin("a", "1", "two"))) == (
        PinChange(name="a", before="1", after="1"),
    )
    sha = digest_of(b"of another platform")
    assert pin_changes(lock(pin("a", "1", wheel=False, more=(sha,))), lock(pin("a", "1"))) == ()
    assert pin_changes(lock(pin("a", "1", wheel=False)), lock(pin("a", "1", wheel=False, more=(sha,)))) != ()


def test_a_mix_is_a_lock_with_the_pins_that_were_asked_for():
    good = lock(pin("a", "1"), pin("b", "1"), pin("c", "1"), installed_bytes=5)
    bad = lock(pin("a", "2"), pin("b", "2"), pin("d", "1"), installed_bytes=7)
    text = mixed_lock(good, bad, {"a", "c", "d"})
    found = parse_lock(text, "mix")
    assert [(one.name, one.version) for one in found.pins] == [("a", "2"), ("b", "1"), ("d", "1")]
    assert found.target == good.target and found.installed_bytes == 7
    assert [one.filename.removesuffix("-py3-none-any.whl") for one in found.wheels] == ["a-2", "b-1", "d-1"]
    assert parse_lock(mixed_lock(good, bad, ()), "mix").pins == good.pins
    assert parse_lock(mixed_lock(good, bad, "abcd"), "mix").pins == bad.pins


@pytest.fixture
def fit():
    """`http` 1 needs h11 below 1, `http` 2 needs h11 from 1 on; `x` is by itself; `new` needs the new http."""
    good = lock(pin("http", "1"), pin("h11", "0.9"), pin("x", "1"), pin("old", "1"))
    bad = lock(pin("http", "2"), pin("h11", "1.0"), pin("x", "2"), pin("new", "1"), pin("old", "1"))
    before = {"http": ("h11<1",), "old": ("gone>=3",)}
    after = {"http": ("h11>=1",), "new": ("http>=2",), "old": ("gone>=3",)}
    return Fit(good, bad, before, after, "3.11.2")


def test_a_mix_that_lacks_what_a_wheel_needs_is_not_consistent(fit):
    assert fit.problems(()) == () and fit.problems({"http", "h11", "x", "new"}) == ()
    assert fit.problems({"x"}) == () and fit.problems({"http", "h11"}) == ()
    assert fit.problems({"http"}) == ("http: it needs h11>=1, but h11 is locked at 0.9",)
    assert fit.problems({"h11"}) == ("http: it needs h11<1, but h11 is locked at 1.0",)
    assert len(fit.problems({"new"})) == 1


def test_what_both_locks_lack_is_nothing_that_mixing_did(fit):
    assert not any("gone" in text for text in fit.problems({"x"}))


def test_a_change_comes_with_those_that_it_cannot_go_without(fit):
    assert fit.closure("x") == {"x"}
    assert fit.closure("http") == fit.closure("h11") == {"http", "h11"}
    assert fit.closure("new") == {"new", "http", "h11"}


def test_a_closure_that_cannot_be_completed_ends():
    good, bad = lock(pin("a", "1"), pin("b", "1")), lock(pin("a", "2"), pin("b", "2"))
    stuck = Fit(good, bad, {}, {"a": ("b==3",)}, "")
    assert stuck.closure("a") in ({"a"}, {"a", "b"})
