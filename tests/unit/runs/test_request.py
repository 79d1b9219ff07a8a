"""A request that contradicts itself ends before anything is made."""

from pathlib import Path

import pytest

from harness.documents.experiment import parse_experiment
from harness.errors import UsageError
from harness.runs.request import Request

TEXT = """
schema: 1
image: cuda
run: [python, train.py]
resume: [python, train.py]
steps: 1
outputs: [x]
policy: {required: [rerun]}
"""
PYTHON = Path("/venv/bin/python")


def checked(text=TEXT, **fields):
    return Request(root=Path(), name="x", **fields).checked(parse_experiment(text, "x.yaml"))


@pytest.mark.parametrize("runner", ["auto", "host"])
def test_an_interpreter_implies_the_host(runner):
    assert checked(runner=runner, python=PYTHON).runner == "host"


def test_an_interpreter_and_containers_contradict_each_other():
    with pytest.raises(UsageError, match="RUNNER=docker"):
        checked(runner="docker", python=PYTHON)


@pytest.mark.parametrize("runner", ["auto", "docker", "host"])
def test_without_an_interpreter_the_runner_stays(runner):
    assert checked(runner=runner).runner == runner


def test_naming_gpus_for_an_experiment_that_asks_for_none_is_refused():
    with pytest.raises(UsageError, match="asks for no GPU"):
        checked(gpu="0")
    assert checked(TEXT + "gpus: 1\n", gpu="0").gpu == "0"


def test_a_prefix_of_an_experiment_that_has_none_is_refused():
    experiment = parse_experiment(TEXT, "x.yaml")
    assert Request(root=Path(), name="x").scope(experiment) is None
    with pytest.raises(UsageError, match="--steps 1: a prefix has at least one step, and fewer than all 1") as caught:
        Request(root=Path(), name="x", steps=1).scope(experiment)
    assert caught.value.remedy == "leave it out"


@pytest.mark.parametrize("given", ["exp", "pipelines/experiments/exp.yaml", "{root}/pipelines/experiments/exp.yaml"])
def test_the_path_of_an_experiments_file_is_its_name(given, tmp_path):
    assert Request(root=tmp_path, name=given.format(root=tmp_path)).name == "exp"
    assert Request(root=tmp_path / "other", name=f"{tmp_path}/exp.yaml").name == f"{tmp_path}/exp.yaml"


def test_a_sweep_needs_a_resume_and_the_whole_training():
    assert checked(sweep=3).sweep == 3
    with pytest.raises(UsageError, match="no command `resume`"):
        checked(TEXT.replace("resume: [python, train.py]\n", ""), sweep=3)
    with pytest.raises(UsageError, match="--steps runs a part of it"):
        checked(sweep=3, steps=1)
