"""Three repositories written as people write them, each taken from clone to certificate by `harness init`.

None of them knows of the harness: a LoRA script with argparse; transformers' Trainer with a YAML config; a Lightning
project with a package layout. Nothing is written by hand: every question is answered with its default.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.project import Project

HERE = Path(__file__).parent
EXPECTED = {
    "lora": ("train_lora", ["python", "make_model.py"], {"tiny-llama"}, "{latest:outputs/checkpoint-*}"),
    "hftrainer": ("finetune", None, set(), "configs/small.yaml"),
    "lightning": ("digits-cli", ["python", "scripts/prepare_data.py"], {"digits.npz"}, "last"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A new user: an empty home and cache, which the three repositories share."""
    folder = tmp_path_factory.mktemp("home")
    return {"HOME": str(folder), "HARNESS_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1", "RUNNER": "host"}


@pytest.mark.parametrize(
    "name", ["lora", *(pytest.param(one, marks=pytest.mark.slow) for one in ("hftrainer", "lightning"))]
)
@pytest.mark.torch
def test_a_repository_is_certified_after_init_with_every_answer_a_default(name, tmp_path, home):
    experiment, prepare, inputs, resumed = EXPECTED[name]
    shutil.copytree(HERE / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    project = Project(tmp_path / name)
    project.git("init", "-q")
    project.commit()
    lock = tmp_path / name / "lockfiles" / "cpu.lock"
    if prepare:  # as its README says, with a Python of its own
        python = os.environ["HARNESS_TEST_TORCH_PYTHON"]
        subprocess.run([python, *prepare[1:]], cwd=project.root, env={**os.environ, **home}, check=True)
    answer = project.harness("init", "--yes", **home)
    assert answer.code == 0, answer.err
    assert lock.is_file() and f"harness certify {experiment}" in answer.last_line
    written = yaml.safe_load((project.root / "pipelines" / "experiments" / f"{experiment}.yaml").read_text())
    assert set(written.get("inputs", {})) == inputs and written["resume"][-1] == resumed
    assert "not found out" not in answer.out, answer.out
    project.commit("an experiment")
    answer = project.harness("certify", experiment, **home)
    assert answer.last_line == "VERDICT: CERTIFIED", answer.out + answer.err
    verdict = json.loads((project.latest(experiment) / "verdict.json").read_text())
    assert verdict["checks"]["resume"]["verdict"] == "CERTIFIED" and len(verdict["interruptions"]) >= 2
    assert max(point["started_after_step"] for point in verdict["checks"]["resume"]["resumes"]) > 0
