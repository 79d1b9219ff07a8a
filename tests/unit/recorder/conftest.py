"""Recordings of real training processes, each by the interpreter that has torch."""

import hashlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import ROOT

INJECT = ROOT / "harness" / "recorder" / "inject"
PLAIN = ROOT / "pipelines" / "plain" / "train.py"
MUTANT = ROOT / "tests" / "mutants" / "train.py"
SCRIPTS = Path(__file__).parent / "scripts"
LOOP = SCRIPTS / "complete_loop.py"


@dataclass
class Run:
    """One recorded process."""

    folder: Path
    returncode: int
    stdout: str
    stderr: str

    def lines(self, name: str, torn: bool = False) -> list[dict]:
        path = self.folder / name
        text = path.read_text(encoding="ascii") if path.exists() else ""
        assert torn or not text or text.endswith("\n")
        return [json.loads(line) for line in text.splitlines()]

    def ledger(self) -> list[dict]:
        return self.lines("ledger.jsonl")

    def start(self) -> dict:
        return self.ledger()[0]

    def steps(self) -> dict[int, dict]:
        return {record["step"]: record for record in self.ledger() if record["kind"] == "step"}

    def events(self, kind: str) -> list[dict]:
        return [event for event in self.lines("events.jsonl") if event["kind"] == kind]

    def tensors(self, step: int, at: str, stream: str) -> dict:
        found = [x for x in self.lines("tensors.jsonl") if (x["step"], x["at"], x["stream"]) == (step, at, stream)]
        return found[-1]["tensors"]


class Trajectory:
    """A folder in which processes train one after another, recorded."""

    def __init__(self, python: str, folder: Path) -> None:
        self.python, self.folder, self.number = python, folder, 0
        (folder / "output").mkdir(parents=True)

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def run(
        self,
        script: Path,
        *arguments: object,
        faults: tuple[dict, ...] = (),
        recorded: bool = True,
        environment: dict[str, str] | None = None,
        python_options: tuple[str, ...] = (),
    ) -> Run:
        self.number += 1
        folder = self.folder / "runs" / str(self.number)
        folder.mkdir(parents=True)
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(INJECT)}
        env |= {"HARNESS_RUN_DIR": str(folder), "HARNESS_FAULTS": json.dumps(faults)} if recorded else {}
        env |= environment or {}
        command = [self.python, *python_options, str(script), *map(str, arguments)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
        return Run(folder, done.returncode, done.stdout, done.stderr)

    def train(self, script: Path, config: dict, *arguments: object, **options: object) -> Run:
        path = self.folder / "config.json"
        path.write_text(json.dumps(config))
        return self.run(script, "--config", path, "--output", self.output, *arguments, **options)

    def final(self) -> str:
        return hashlib.sha256((self.output / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def new_trajectory(torch_python, tmp_path_factory):
    """A function that makes an empty trajectory."""
    return lambda: Trajectory(torch_python, tmp_path_factory.mktemp("trajectory"))


CONFIG = {"seed": 3, "steps": 12, "lr": 0.01, "batch_size": 8, "accumulation": 2, "save_every": 4}


@pytest.fixture(scope="session")
def straight(new_trajectory):
    """The complete loop, straight through."""
    trajectory = new_trajectory()
    run = trajectory.train(LOOP, CONFIG)
    assert run.returncode == 0, run.stderr
    return trajectory, run
