"""harness.pyz as a reviewer has it: one file, a Python of the system's, and a home in which nothing lies."""

import os
import shutil
import subprocess
import sys

import pytest

from tests import ROOT
from tests.project import copy_project

(PUBLISHED,) = (ROOT / "manifests" / "tiny").iterdir()
OTHERS = ("3.11", "3.12", "3.13", "3.14")


def pythons():
    """The Pythons of this machine that the file is for."""
    found = (shutil.which(f"python{version}") for version in OTHERS)
    return sorted({sys.executable, *filter(None, found)})


@pytest.fixture(scope="module")
def pyz(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pyz")
    source = copy_project(folder / "source").root
    subprocess.run([sys.executable, source / ".ci" / "pyz" / "build.py", folder / "harness.pyz"], check=True)
    return folder / "harness.pyz"


def run(pyz, home, *arguments, python=sys.executable, **environment):
    clean = {"HOME": str(home), "PATH": "/usr/bin:/bin", **environment}
    return subprocess.run(
        [python, str(pyz), *map(str, arguments)], cwd=home, env=clean, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("python", pythons())
def test_it_verifies_in_an_empty_home_and_unpacks_itself_once(pyz, tmp_path, python):
    result = run(pyz, tmp_path, "verify", PUBLISHED, python=python)
    if "pyenv: " in result.stderr:
        pytest.skip("a shim that leads nowhere")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("CONSISTENT: the manifest says CERTIFIED")
    (unpacked,) = (tmp_path / ".cache" / "repro-harness-pyz").iterdir()
    (unpacked / "mark").touch()
    assert run(pyz, tmp_path, "--version", python=python).stdout.startswith("harness, version")
    assert [path / "mark" for path in (tmp_path / ".cache" / "repro-harness-pyz").iterdir()] == [unpacked / "mark"]


def test_where_nothing_can_be_written_it_leaves_nothing(pyz, tmp_path):
    (tmp_path / "tmp").mkdir()
    (tmp_path / "file").touch()
    result = run(pyz, tmp_path, "--version", XDG_CACHE_HOME=str(tmp_path / "file"), TMPDIR=str(tmp_path / "tmp"))
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "tmp").iterdir()) == []


def test_another_python_is_told_which_ones_fit(pyz, tmp_path):
    pretend = "import runpy, sys; sys.version_info = (3, 10, 1); sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0])"
    command = [sys.executable, "-c", pretend, str(pyz), "verify"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ)
    assert result.returncode == 6
    assert result.stderr.startswith(
        "error: this file is for CPython 3.11, 3.12, 3.13, 3.14 on Linux, x86-64, with glibc"
    )
