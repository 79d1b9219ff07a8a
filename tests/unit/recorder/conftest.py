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
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


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


class ForkServer:
    """A process that has imported torch and forks for every script (scripts/fork_server.py)."""

    def __init__(self, python: str) -> None:
        environment = {**os.environ, **ENVIRONMENT}
        command = [python, SCRIPTS / "fork_server.py"]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request: object) -> int:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, argv: list[str], environment: dict[str, str], stdout: Path, stderr: Path) -> int:
        """Start a script; returns its process id."""
        paths = {"stdout": str(stdout), "stderr": str(stderr), "inject": str(INJECT)}
        return self.ask(argv=argv, environment=environment, **paths)

    def wait(self, pid: int) -> int:
        return self.ask(wait=pid)


@pytest.fixture(scope="session")
def fork_server(torch_python):
    server = ForkServer(torch_python)
    with server.process:  # closes its pipes, at which it ends, and waits for it
        yield server


class Trajectory:
    """A folder in which processes train one after another, recorded."""

    def __init__(self, server: ForkServer, python: str, folder: Path) -> None:
        self.server, self.python, self.folder, self.number = server, python, folder, 0
        (folder / "output").mkdir(parents=True)

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def start(
        self, script: Path, *arguments: object, faults: tuple[dict, ...] = (), recorded: bool = True, **more: str
    ) -> tuple[int, Path]:
        """Start a script in a fork of the server; returns its process id and its run's folder."""
        folder, environment = self._prepare(faults, recorded)
        argv = [str(script), *map(str, arguments)]
        logs = (self.folder / f"{folder.name}.{stream}" for stream in ("stdout", "stderr"))
        return self.server.start(argv, environment | more, *logs), folder

    def run(self, script: Path, *arguments: object, **options: object) -> Run:
        """Run a script in a fork of the server to its end."""
        pid, folder = self.start(script, *arguments, **options)
        code = self.server.wait(pid)
        return Run(folder, code, *((self.folder / f"{folder.name}.{s}").read_text() for s in ("stdout", "stderr")))

    def run_anew(self, script: Path, recorded: bool = True, **more: str) -> Run:
        """Run a script in an interpreter of its own, which has imported nothing yet."""
        folder, environment = self._prepare((), recorded)
        done = subprocess.run(
            [self.python, script], env=environment | more, capture_output=True, text=True, timeout=300, check=False
        )
        return Run(folder, done.returncode, done.stdout, done.stderr)

    def _prepare(self, faults: tuple[dict, ...], recorded: bool) -> tuple[Path, dict[str, str]]:
        self.number += 1
        folder = self.folder / "runs" / str(self.number)
        folder.mkdir(parents=True)
        environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(INJECT)}
        if recorded:
            environment |= {"HARNESS_RUN_DIR": str(folder), "HARNESS_FAULTS": json.dumps(faults)}
        return folder, environment

    def train(self, script: Path, config: dict, *arguments: object, **options: object) -> Run:
        return self.run(script, *self._told(config), *arguments, **options)

    def start_training(self, script: Path, config: dict, **options: object) -> tuple[int, Path]:
        return self.start(script, *self._told(config), **options)

    def _told(self, config: dict) -> tuple[object, ...]:
        path = self.folder / "config.json"
        path.write_text(json.dumps(config))
        return ("--config", path, "--output", self.output)

    def final(self) -> str:
        return hashlib.sha256((self.output / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def new_trajectory(fork_server, torch_python, tmp_path_factory):
    """A function that makes an empty trajectory."""
    return lambda: Trajectory(fork_server, torch_python, tmp_path_factory.mktemp("trajectory"))


CONFIG = {"seed": 3, "steps": 12, "lr": 0.01, "batch_size": 8, "accumulation": 2, "save_every": 4}


@pytest.fixture(scope="session")
def straight(new_trajectory):
    """The complete loop, straight through."""
    trajectory = new_trajectory()
    run = trajectory.train(LOOP, CONFIG)
    assert run.returncode == 0, run.stderr
    return trajectory, run
