"""What the tests of pipelines/lora look at: real trainings, made once by the interpreter that has torch."""

import fcntl
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PIPELINE = HERE.parents[2] / "pipelines" / "lora"
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def load(path):
    """Import a file under a name of its own: `config` and `data` are not names to share with other tests."""
    name = f"lora_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def config_module():
    """pipelines/lora/config.py, which needs no torch."""
    return load(PIPELINE / "config.py")


@pytest.fixture(scope="session")
def miniature():
    """The dictionary, the configuration and the scenarios."""
    return load(HERE / "miniature.py")


@pytest.fixture(scope="session")
def call(torch_python):
    """Run a script of the pipeline or of these tests; returns the finished process."""

    def run(script, *arguments, **options):
        command = [torch_python, str(script), *map(str, arguments)]
        environment = {**os.environ, **ENVIRONMENT}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, **options)

    return run


def parsed(process):
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def once(work, name, make):
    """What `make` returns, made by the first of several pytest workers and read by the others."""
    result = work / f"{name}.result.json"
    with (work / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not result.exists():
            result.write_text(json.dumps(make()))
    return json.loads(result.read_text())


@pytest.fixture(scope="session")
def pieces(call, work):
    """What scripts/pieces.py saw."""
    return once(work, "pieces", lambda: parsed(call(HERE / "scripts" / "pieces.py", PIPELINE)))


@pytest.fixture(scope="session")
def numerics(call, miniature, work):
    """What scripts/numerics.py computed."""

    def compute():
        path = work / "numerics.json"
        path.write_text(json.dumps(miniature.CONFIG))
        return parsed(call(HERE / "scripts" / "numerics.py", PIPELINE, work, path))

    return once(work, "numerics", compute)


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    """The folder that inputs, prepared data and trainings lie in; pytest's workers share it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "lora"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def tracked(call, miniature, work):
    """What scripts/track_and_kill.py saw."""

    def track():
        folder = work / "tracked"
        miniature.write_wordnet(folder / "inputs" / "wordnet" / "usr" / "share" / "wordnet")
        script = HERE / "scripts" / "track_and_kill.py"
        return parsed(call(script, PIPELINE, folder, input=json.dumps(miniature.CONFIG)))

    return once(work, "tracked", track)


@pytest.fixture(scope="session")
def trainings(call, miniature, work):
    """What scripts/train_and_kill.py left of every scenario."""
    return once(work, "trainings", lambda: train_and_kill(call, miniature, work))


def train_and_kill(call, miniature, work):
    miniature.write_wordnet(work / "inputs" / "wordnet" / "usr" / "share" / "wordnet")
    scenarios = {}
    for name, scenario in miniature.SCENARIOS.items():
        runs = []
        for run in scenario["runs"]:
            changes = {**scenario.get("config", {}), **run.get("config", {})}
            runs.append({**run, "config": miniature.config_with(**changes)})
        scenarios[name] = {"runs": runs}
    refused = miniature.REFUSED_PREPARATIONS.items()
    (work / "inputs" / "empty").mkdir()
    miniature.write_wordnet(work / "inputs" / "malformed" / "usr" / "share" / "wordnet", shift=1)
    document = {
        "config": miniature.CONFIG,
        "with other pairs": miniature.config_with(data__train_pairs=19),
        "scenarios": scenarios,
        "preparations": {name: miniature.config_with(**changes) for name, changes in refused},
    }
    return parsed(call(HERE / "scripts" / "train_and_kill.py", PIPELINE, work, input=json.dumps(document)))


@pytest.fixture(scope="session")
def adapter(trainings):
    """What peft saw of the straight training's adapter."""
    return trainings["adapter"]


@pytest.fixture(scope="session")
def scenario(trainings):
    """Return what a scenario left, by its name."""
    return trainings["scenarios"].__getitem__
