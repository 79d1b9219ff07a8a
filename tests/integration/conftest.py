"""What the integration tests share: a real engine, the real image, and a project of one's own to break."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.errors import HostError
from harness.system import engine
from harness.system.store import open_store
from tests import ROOT


@pytest.fixture(scope="session")
def client():
    try:
        connection = engine.ensure("auto", print)
    except HostError as error:
        if os.environ.get("CI") or os.geteuid() == 0:
            pytest.fail(f"the container path is never skipped silently here: {error}", pytrace=False)
        pytest.skip(str(error))
    yield connection
    connection.close()


@dataclass(frozen=True)
class Answer:
    """What a command of the harness answered."""

    code: int
    out: str
    err: str

    @property
    def last_line(self):
        return self.out.strip().splitlines()[-1] if self.out.strip() else ""


class Project:
    """A checkout of its own: the files of this one, committed, to be changed at will."""

    def __init__(self, root: Path):
        self.root = root

    def git(self, *arguments):
        identity = ["-c", "user.name=tester", "-c", "user.email=tester@example.org"]
        subprocess.run(["git", *identity, "-C", str(self.root), *arguments], check=True, capture_output=True)

    def commit(self, message="change"):
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)

    def experiment(self, name, text):
        (self.root / "pipelines" / "experiments" / f"{name}.yaml").write_text(text)
        self.commit(name)

    def harness(self, *arguments, timeout=1200, **environment):
        """Run the command line as a user does; the environment is the caller's plus `environment`."""
        result = subprocess.run(
            [sys.executable, "-m", "harness", "--root", str(self.root), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
        assert "Traceback" not in result.stderr, result.stderr
        return Answer(result.returncode, result.stdout, result.stderr)

    def latest(self, name):
        return (self.root / "runs" / name / "latest").resolve()

    def verdict(self, name):
        return json.loads((self.latest(name) / "verdict.json").read_text())

    def manifest(self, name):
        return json.loads((self.latest(name) / "manifest.json").read_text())


def copy_project(target: Path) -> Project:
    names = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    project = Project(target)
    project.git("init", "-q")
    project.commit("everything")
    return project


@pytest.fixture
def project(tmp_path):
    return copy_project(tmp_path / "project")


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory):
    """One for all tests of a module that do not disturb each other."""
    return copy_project(tmp_path_factory.mktemp("shared") / "project")


@pytest.fixture(scope="session")
def certified_tiny(client, tmp_path_factory):
    """`tiny`, certified once in containers for all who only read it: its project, and what the command answered."""
    project = copy_project(tmp_path_factory.mktemp("tiny") / "project")
    answer = project.harness("certify", "tiny", RUNNER="docker", timeout=1500)
    assert answer.code == 0, answer.out + answer.err
    return project, answer


@pytest.fixture(scope="session")
def certified_prefix(client, tmp_path_factory):
    """The first 10 steps of `plain`, as `certified_tiny`; and what was known of its timings before and after."""
    project, store = copy_project(tmp_path_factory.mktemp("prefix") / "project"), open_store(None, os.environ)
    before = store.read_record("timings", "plain")
    answer = project.harness("certify", "plain", "--steps", "10", RUNNER="docker")
    return project, answer, (before, store.read_record("timings", "plain"))
