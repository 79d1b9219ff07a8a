"""An interpreter against a lock: what is missing, added and changed."""

import pytest

from harness.documents.environment import (
    AddedPackage,
    ChangedPackage,
    EnvironmentDifference,
    MissingPackage,
    PythonDifference,
)
from harness.documents.lockfile import parse_lock
from harness.packages.interpreter import Interpreter, compare_with_lock

HASH = "--hash=sha256:" + "ab" * 32
LOCK = parse_lock(
    f"torch==2.9.0+cpu {HASH}\nnumpy==2.1.0 {HASH}\nnot-here==1.0 {HASH}\n"
    f'only-old==1.0 ; python_version < "3.11" {HASH}\n',
    "test.lock",
)
MARKERS = {
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "python_full_version": "3.11.7",
    "python_version": "3.11",
    "sys_platform": "linux",
}


def interpreter(version="3.11.7", **packages):
    return Interpreter(
        version=tuple(map(int, version.split("."))),
        prefix="/venv",
        markers=MARKERS,
        packages=tuple((name.replace("_", "-"), v) for name, v in packages.items()),
    )


LOCKED = {"torch": "2.9.0+cpu", "numpy": "2.1.0", "not_here": "1.0"}


def test_the_locked_environment_has_no_difference_and_pins_of_other_pythons_are_not_missed():
    difference = compare_with_lock(interpreter(**LOCKED), LOCK)
    assert difference == EnvironmentDifference() and difference.is_empty and difference.summary() == "none"


def test_missing_added_and_changed_are_named_with_their_versions():
    found = interpreter(torch="2.9.0", numpy="2.1.0", extra="0.1")
    difference = compare_with_lock(found, LOCK)
    assert difference == EnvironmentDifference(
        missing=(MissingPackage(name="not-here", locked="1.0"),),
        added=(AddedPackage(name="extra", found="0.1"),),
        changed=(ChangedPackage(name="torch", locked="2.9.0+cpu", found="2.9.0"),),
    )
    assert difference.counts() == {"missing": 1, "changed": 1, "added": 1}


@pytest.mark.parametrize("packages", [{}, {"a": "1"}, {f"p{n}": "1" for n in range(300)}])
def test_environments_with_nothing_in_common_are_compared_package_by_package(packages):
    difference = compare_with_lock(interpreter(**packages), LOCK)
    assert [one.name for one in difference.missing] == ["not-here", "numpy", "torch"]
    assert [one.name for one in difference.added] == sorted(packages)
    assert difference.changed == ()


def test_another_series_of_python_is_a_difference_and_another_patch_is_none():
    assert compare_with_lock(interpreter("3.11.2", **LOCKED), LOCK).is_empty
    difference = compare_with_lock(interpreter("3.12.1", **LOCKED), LOCK)
    assert difference.python == PythonDifference(locked="3.11", found="3.12") and not difference.has_packages
    assert "Python 3.12 instead of 3.11" in difference.summary()


def test_a_package_called_python_is_not_taken_for_the_interpreter():
    found = interpreter("3.12.1", python="1.0", **LOCKED)
    difference = compare_with_lock(found, LOCK)
    assert difference.python == PythonDifference(locked="3.11", found="3.12") and difference.added == (
        AddedPackage(name="python", found="1.0"),
    )


def test_names_are_compared_in_their_canonical_form_and_the_first_of_two_counts():
    found = Interpreter(
        version=(3, 11, 7),
        prefix="",
        markers={},
        packages=(("Not_Here", "1.0"), ("not-here", "2.0"), ("A.b", "3")),
    )
    assert found.packages == (("a-b", "3"), ("not-here", "1.0"))


def test_versions_that_are_written_differently_and_mean_the_same_are_equal():
    lock = parse_lock(f"a==1.0rc1 {HASH}\n", "test.lock")
    assert compare_with_lock(interpreter(a="1.0-RC1"), lock).is_empty
    assert not compare_with_lock(interpreter(a="garbage"), lock).is_empty


def test_a_long_difference_is_summed_up():
    found = interpreter(**{f"p{n}": "1" for n in range(9)}, **LOCKED)
    assert compare_with_lock(found, LOCK).summary() == "9 added (p0 1, p1 1, p2 1, ...)"


def test_two_environments_with_other_packages_have_other_digests():
    assert interpreter(**LOCKED).digest == interpreter(**LOCKED).digest
    assert interpreter(**LOCKED).digest != interpreter(**{**LOCKED, "numpy": "2.1.1"}).digest
    assert interpreter(**LOCKED).digest != interpreter("3.11.8", **LOCKED).digest
