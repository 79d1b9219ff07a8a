"""The wheel as somebody installs it: in an environment of its own, far from this checkout."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import ROOT
from tests.project import Project, copy_project
from tests.tamper.made_archive import made

MOST = 15  # distributions, this one included
CARELESS = "import torch\nmodel = torch.nn.Linear(4, 1)\nmodel(torch.randn(8, 4)).sum().backward()\n"
FOREIGN = ("pipelines/plain", "pipelines/experiments/plain.yaml")


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and a folder of its user's."""

    programs: Path
    home: Path

    def run(self, *command, **environment):
        program, *arguments = map(str, command)
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.home,
            env={**kept, "XDG_CONFIG_HOME": str(self.home / "config"), **environment},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = copy_project(folder / "source").root
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, source], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def install(wheel, folder, extra=""):
    """The wheel, and what it needs in the versions that lockfiles/harness.lock pins."""
    pins = re.findall(r"^([\w.-]+==[^ \n]+)", (ROOT / "lockfiles" / "harness.lock").read_text(), re.MULTILINE)
    (folder / "constraints.txt").write_text("\n".join(pins))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "environment"], check=True)
    programs = folder / "environment" / "bin"
    options = ["--quiet", "--only-binary", ":all:", "--constraint", folder / "constraints.txt"]
    pip = [sys.executable, "-m", "pip", "--python", programs / "python", "install", *options, f"{wheel}{extra}"]
    subprocess.run(pip, check=True, capture_output=True)
    (folder / "home").mkdir()
    return Installed(programs, folder / "home")


@pytest.fixture(scope="module")
def base(wheel, tmp_path_factory):
    return install(wheel, tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def published(base):
    """A folder of manifests/, copied out of the checkout."""
    (source,) = (ROOT / "manifests" / "tiny").iterdir()
    return Path(shutil.copytree(source, base.home / source.name))


def test_few_distributions_are_installed(base):
    names = "import importlib.metadata as m; print(*sorted(d.name for d in m.distributions()), sep='\\n')"
    found = base.run("python", "-c", names).stdout.split()
    assert "repro-harness" in found and len(found) <= MOST, found


def test_a_script_is_reviewed(base):
    (base.home / "careless.py").write_text(CARELESS)
    result = base.run("harness", "review", "careless.py")
    assert (result.returncode, result.stdout.splitlines()[-1]) == (4, "REVIEW: VETOED"), result.stderr


def test_a_published_folder_is_verified(base, published):
    result = base.run("harness", "verify", published)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1].startswith("CONSISTENT: the manifest says CERTIFIED")


def test_an_archive_is_verified_and_what_is_not_checked_names_the_extra(base, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    archive = made(tmp_path).archive
    result = base.run("harness", "verify", archive)
    assert result.returncode == 0 and "CONSISTENT" in result.stdout, result.stdout + result.stderr
    for what in ("the reports", "the research crate"):
        assert re.search(f"- {what}: .*repro-harness\\[certify\\]", result.stdout), result.stdout
    missing = base.run("harness", "replay", archive)
    assert missing.returncode == 6 and "pip install 'repro-harness[certify]'" in missing.stderr, missing.stderr


def test_two_trajectories_are_compared(base, published):
    copy = shutil.copytree(published / "straight", base.home / "other")
    result = base.run("harness", "diff", published / "straight", copy)
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "EQUAL"), result.stdout + result.stderr


def test_it_is_the_same_code_as_that_of_the_checkout(base):
    digest = "from harness.system.sources import sources_digest; print(sources_digest())"
    here = subprocess.run([sys.executable, "-c", digest], cwd=ROOT, capture_output=True, text=True, check=True)
    assert base.run("python", "-c", digest).stdout == here.stdout != ""


def test_with_the_extra_a_training_in_another_repository_is_certified_on_the_host(wheel, tmp_path):
    installed = install(wheel, tmp_path, "[certify]")
    project = Project(installed.home)
    for name in FOREIGN:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (installed.home / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, installed.home / name)
    (installed.home / "lockfiles").mkdir()
    shutil.copy(ROOT / "lockfiles" / "cpu.lock", installed.home / "lockfiles")
    (installed.home / ".gitignore").write_text("/runs/\n/config/\n")
    project.git("init", "-q")
    project.commit("a training")
    result = installed.run("harness", "certify", "plain", "--runner", "host")
    assert (result.returncode, result.stdout.splitlines()[-1:]) == (0, ["VERDICT: CERTIFIED"]), result.stderr
    assert json.loads((project.latest("plain") / "verdict.json").read_text())["runner"] == "host"
