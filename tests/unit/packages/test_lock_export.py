import re

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness.documents.lockfile import BaseLock, BasePackage, parse_base_lock, parse_lock
from harness.errors import UsageError
from harness.packages.lock_export import python_version, to_conda, to_requirements
from harness.system.project import STOCK
from tests import ROOT

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
LOCK = parse_lock(
    f'pip==26.3 --hash={A}\ntorch==2.13.0+cpu --hash={A} --hash={B}\ncolor==1 ; sys_platform == "win32" --hash={B}\n',
    "tiny.lock",
)


def lock_named(name):
    return parse_lock((ROOT / "lockfiles" / f"{name}.lock").read_text(), f"{name}.lock")


def base_lock():
    return parse_base_lock((STOCK / "base-bookworm.lock").read_text(), "base-bookworm.lock")


def versions_in_requirements(text):
    lines = [line for line in text.splitlines() if line and not line.startswith(("#", "-"))]
    found = [Requirement(line.split(" --hash")[0].strip()) for line in lines]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in found}


def versions_in_conda(text):
    document = yaml.safe_load(text)
    *plain, by_pip = document["dependencies"]
    found = {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in requirements_of(by_pip)}
    return found | dict(one.split("=") for one in plain)


def requirements_of(by_pip):
    return [Requirement(line) for line in by_pip["pip"] if not line.startswith("--")]


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_both_exports_say_the_same_versions_as_the_lock(name):
    lock = lock_named(name)
    wanted = {pin.name: pin.version for pin in lock.pins}
    assert versions_in_requirements(to_requirements(lock, name)) == wanted
    conda = versions_in_conda(to_conda(lock, base_lock(), name))
    assert conda.pop("python") == "3.11.2"
    assert conda == wanted


def test_requirements_hold_every_hash_of_the_lock():
    text = to_requirements(lock_named("cpu"), "cpu")
    for pin in lock_named("cpu").pins:
        line = next(line for line in text.splitlines() if line.startswith(f"{pin.name}=="))
        assert tuple(sorted(re.findall(r"--hash=(\S+)", line))) == pin.hashes
    assert "\n--require-hashes\n" in text


def test_an_export_reads_back_as_a_lock_but_for_its_options():
    text = "".join(line for line in to_requirements(LOCK, "tiny").splitlines(True) if not line.startswith("--"))
    assert parse_lock(text, "x").pins == LOCK.pins


def test_the_index_of_local_builds_is_named_where_there_are_any_and_only_there():
    option = "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert f"\n{option}\n" in to_requirements(LOCK, "tiny")
    assert option in yaml.safe_load(to_conda(LOCK, None, "tiny"))["dependencies"][-1]["pip"]
    plain = parse_lock(f"pip==26.3 --hash={A}\n", "x")
    assert "index-url" not in to_requirements(plain, "x") + to_conda(plain, None, "x")


def test_a_marker_stays_with_its_pin():
    assert 'color==1 ; sys_platform == "win32"' in to_requirements(LOCK, "tiny")
    markers = {
        one.name: str(one.marker)
        for one in requirements_of(yaml.safe_load(to_conda(LOCK, None, "t"))["dependencies"][-1])
    }
    assert markers["color"] == 'sys_platform == "win32"'


def test_a_cuda_export_says_which_driver_it_needs():
    lock = parse_lock(f"pip==1 --hash={A}\nnvidia-cuda-runtime==13.0.96 --hash={A}\n", "x")
    assert "driver 580.65.06 or newer" in to_requirements(lock, "x")
    assert "driver 580.65.06 or newer" in to_conda(lock, None, "x")


def test_an_environment_without_pip_cannot_be_exported_to_conda():
    with pytest.raises(UsageError, match="pip"):
        to_conda(parse_lock(f"six==1 --hash={A}\n", "x"), None, "x")


@pytest.mark.parametrize(
    ("packages", "version"),
    [
        ({"python3.11-minimal": "3.11.2-6+deb12u6", "python3": "3.11.2-1+b1"}, "3.11.2"),
        ({"python3": "1:3.11.9-1"}, "3.11.9"),
        ({"dash": "0.5.12-2"}, ""),
        ({"python3.13-minimal": "3.13.5-2+deb13u5", "python3": "3.13.5-1"}, "3.13.5"),
    ],
)
def test_pythons_version_is_that_of_the_base(packages, version):
    made = [
        BasePackage(name=name, version=one, architecture="amd64", size_bytes=1, sha256=A, pool_path="pool/x.deb")
        for name, one in packages.items()
    ]
    assert python_version(BaseLock(packages=tuple(made), digest=A)) == version
    assert python_version(None) == ""
