"""A checkout of a test's own, and the command line in it, as a user has both."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests import ROOT


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


def copy_certified(certified: Project, target: Path) -> Project:
    """A certified project with its runs, to be changed at will."""
    shutil.copytree(certified.root, target, symlinks=True)
    return Project(target)
