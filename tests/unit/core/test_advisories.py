"""Known container escapes: the table is whole, and versions fall on the right side of it."""

import re

import pytest
from packaging.version import Version

from harness.core.advisories import ADVISORIES, affecting, upstream_version


def ids(component, version):
    return [one.id for one in affecting(component, Version(version))]


def test_every_entry_has_a_number_its_fixes_in_order_and_a_source():
    assert len({one.id for one in ADVISORIES}) == len(ADVISORIES)
    for one in ADVISORIES:
        assert re.fullmatch(r"CVE-20\d\d-\d{4,6}", one.id) and one.title
        fixed = [Version(text) for text in one.fixed]
        assert fixed and fixed == sorted(fixed)
        assert one.source.startswith(("https://nvidia.custhelp.com/", "https://github.com/opencontainers/runc/security/"))


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.16.1", ["CVE-2024-0132", "CVE-2025-23359", "CVE-2025-23266", "CVE-2025-23267", "CVE-2026-24260"]),
        ("1.16.2", ["CVE-2025-23359", "CVE-2025-23266", "CVE-2025-23267", "CVE-2026-24260"]),
        ("1.17.4", ["CVE-2025-23266", "CVE-2025-23267", "CVE-2026-24260"]),
        ("1.17.8", ["CVE-2026-24260"]),
        ("1.19.0", ["CVE-2026-24260"]),
        ("1.19.1", []),
        ("1.20.0", []),
    ],
)
def test_a_toolkit_is_hit_by_what_was_fixed_after_it(version, expected):
    assert ids("nvidia-container-toolkit", version) == expected


@pytest.mark.parametrize("version", ["1.2.8", "1.2.9", "1.3.3", "1.4.0rc3", "1.4.0", "1.5.1", "2.0.0"])
def test_a_runc_with_the_fix_of_its_own_branch_or_a_newer_branch_is_not_hit(version):
    assert ids("runc", version) == []


@pytest.mark.parametrize("version", ["1.1.12", "1.1.15", "1.2.7", "1.3.0", "1.3.2", "1.4.0rc2"])
def test_a_runc_below_the_fix_of_its_own_branch_is_hit_although_an_older_branch_has_one(version):
    assert ids("runc", version) == ["CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881"]


def test_the_runc_of_debian_12_is_hit_by_its_upstream_number():
    assert ids("runc", "1.1.5")[0] == "CVE-2024-21626"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("1.1.5+ds1-1+deb12u1", "1.1.5"),
        ("1.1.5+ds1", "1.1.5"),
        ("runc version 1.2.5", "1.2.5"),
        ("v1.2.5-0-g59923ef", "1.2.5"),
        ("1.4.0-rc.3", "1.4.0rc3"),
        ("1.0.0~rc93+ds1-5", "1.0.0rc93"),
        ("NVIDIA Container Toolkit CLI version 1.17.8", "1.17.8"),
        ("cli-version: 1.13.5", "1.13.5"),
        ("1:1.17.8-1", "1.17.8"),
    ],
)
def test_the_upstream_version_is_read_out_of_what_programs_say(said, expected):
    assert upstream_version(said) == Version(expected)


@pytest.mark.parametrize("said", ["", "unknown", "62bd015475656ef795cb0d59cc4030a6bd4a9526", "1.2", "1.2.3.4"])
def test_what_names_no_version_gives_none(said):
    assert upstream_version(said) is None
