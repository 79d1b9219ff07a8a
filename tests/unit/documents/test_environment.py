"""An interpreter against a lock: what is missing, added and changed, in plain lists."""

import json

import pytest

from harness.documents.environment import Difference, Environment, Interpreter, canonical_packages, compare_with_lock
from harness.documents.lockfile import parse_lock

HASH = "--hash=sha256:" + "ab" * 32
LOCK = parse_lock(
    f"torch==2.9.0+cpu {HASH}\nnumpy==2.1.0 {HASH}\nnot-here==1.0 {HASH}\n"
    f'only-old==1.0 ; python_version < "3.11" {HASH}\n',
    "test.lock",
)
MARKERS = (
    ("platform_machine", "x86_64"),
    ("python_full_version", "3.11.7"),
    ("python_version", "3.11"),
    ("sys_platform", "linux"),
)


def interpreter(version="3.11.7", **packages):
    return Interpreter(
        version=version,
        implementation="CPython",
        platform="linux-x86_64",
        prefix="/venv",
        markers=MARKERS,
        packages=canonical_packages(sorted({name.replace("_", "-"): v for name, v in packages.items()}.items())),
    )


LOCKED = {"torch": "2.9.0+cpu", "numpy": "2.1.0", "not_here": "1.0"}


def test_the_locked_environment_has_no_difference_and_pins_of_other_pythons_are_not_missed():
    difference = compare_with_lock(interpreter(**LOCKED), LOCK, "3.11")
    assert difference == Difference() and difference.is_empty and difference.summary() == "none"


def test_missing_added_and_changed_are_named_with_their_versions():
    found = interpreter(torch="2.9.0", numpy="2.1.0", extra="0.1")
    difference = compare_with_lock(found, LOCK, "3.11")
    assert difference.to_json() == {
        "python": None,
        "missing": [{"name": "not-here", "locked": "1.0"}],
        "added": [{"name": "extra", "found": "0.1"}],
        "changed": [{"name": "torch", "locked": "2.9.0+cpu", "found": "2.9.0"}],
    }
    assert json.loads(json.dumps(difference.to_json())) == difference.to_json()
    assert difference.counts() == {"missing": 1, "changed": 1, "added": 1}


@pytest.mark.parametrize("packages", [{}, {"a": "1"}, {f"p{n}": "1" for n in range(300)}])
def test_environments_with_nothing_in_common_are_compared_package_by_package(packages):
    difference = compare_with_lock(interpreter(**packages), LOCK, "3.11")
    assert [name for name, _ in difference.missing] == ["not-here", "numpy", "torch"]
    assert [name for name, _ in difference.added] == sorted(packages)
    assert difference.changed == ()


def test_another_series_of_python_is_a_difference_and_another_patch_is_none():
    assert compare_with_lock(interpreter("3.11.2", **LOCKED), LOCK, "3.11").is_empty
    difference = compare_with_lock(interpreter("3.12.1", **LOCKED), LOCK, "3.11")
    assert difference.python == ("3.11", "3.12") and not difference.has_packages
    assert "Python 3.12 instead of 3.11" in difference.summary()


def test_a_package_called_python_is_not_taken_for_the_interpreter():
    found = interpreter("3.12.1", python="1.0", **LOCKED)
    difference = compare_with_lock(found, LOCK, "3.11")
    assert difference.python == ("3.11", "3.12") and difference.added == (("python", "1.0"),)


def test_names_are_compared_in_their_canonical_form_and_the_first_of_two_counts():
    assert canonical_packages([("Not_Here", "1.0"), ("not-here", "2.0"), ("A.b", "3")]) == (
        ("a-b", "3"),
        ("not-here", "1.0"),
    )


def test_versions_that_are_written_differently_and_mean_the_same_are_equal():
    lock = parse_lock(f"a==1.0rc1 {HASH}\n", "test.lock")
    assert compare_with_lock(interpreter(a="1.0-RC1"), lock, "3.11").is_empty
    assert not compare_with_lock(interpreter(a="garbage"), lock, "3.11").is_empty


def test_a_long_difference_is_summed_up():
    found = interpreter(**{f"p{n}": "1" for n in range(9)}, **LOCKED)
    assert compare_with_lock(found, LOCK, "3.11").summary() == "9 added (p0 1, p1 1, p2 1, ...)"


def test_an_environment_says_whether_it_is_the_locked_one():
    one = interpreter(**LOCKED)
    locked = Environment(interpreter=one, difference=Difference(), lock="cpu.lock", is_given=True)
    assert locked.sentence() == "" and locked.to_json()["is_locked"] is True and locked.to_json()["kind"] == "given"
    other = Environment(
        interpreter=one, difference=Difference(missing=(("torch", "2"),)), lock="cpu.lock", is_given=True
    )
    assert other.sentence() == "the environment is not the one of cpu.lock: 1 missing (torch)"
    assert "/venv" not in json.dumps(other.to_json()), "somebody's paths do not go into a certificate"


def test_two_environments_with_other_packages_have_other_digests():
    assert interpreter(**LOCKED).digest == interpreter(**LOCKED).digest
    assert interpreter(**LOCKED).digest != interpreter(**{**LOCKED, "numpy": "2.1.1"}).digest
    assert interpreter(**LOCKED).digest != interpreter("3.11.8", **LOCKED).digest
