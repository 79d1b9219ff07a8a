"""Diagnose refuses what it cannot diagnose, each with a reason and a way on."""

import json
import shutil
from types import SimpleNamespace

import pytest

from harness.documents.verdict import Verdict
from harness.errors import EvidenceError, UsageError
from harness.runs.request import Request
from harness.workflow.diagnose import diagnose
from tests.tamper.made_run import make_run

FIRST = {
    "check": "resume", "trajectory": "resumed", "run": 2, "step": 5, "micro_batch": None, "stream": "loss",
    "tensor": None, "operator": None, "left": "a", "right": "b",
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def run(made, tmp_path):
    """A copy of a run that is certified."""
    return shutil.copytree(made, tmp_path / "runs" / made.parent.name / made.name)


def refused(run, times=2):
    others = SimpleNamespace(), SimpleNamespace()
    with pytest.raises((UsageError, EvidenceError)) as error:
        diagnose(Request(root=run.parents[2], name=""), str(run), *others, times=times, is_confirmed=False)
    return error.value.exit_code, error.value.problem


def differ(run, **first):
    path = run / "verdict.json"
    verdict = json.loads(path.read_text())
    path.write_text(json.dumps({**verdict, "verdict": "DIVERGED", "first_divergence": {**FIRST, **first}}))
    assert Verdict.load(path.read_bytes(), "verdict.json").first_divergence is not None


def test_a_run_without_a_difference_is_refused(run):
    assert refused(run) == (2, f"{run.name} is CERTIFIED, with no difference to diagnose")


def test_a_run_without_its_code_is_refused(run):
    differ(run)
    shutil.rmtree(run / "code")
    code, problem = refused(run)
    assert code == 2 and "without the code and the evidence" in problem


def test_a_folder_that_is_no_run_is_refused(tmp_path, run):
    other = tmp_path / "a" / "b" / "c"
    other.mkdir(parents=True)
    assert refused(other) == (2, f"{other} holds no run")


def test_code_that_was_changed_is_refused(run):
    differ(run)
    (run / "code" / "run.sh").write_text("#!/bin/sh\ntrue\n")
    assert refused(run) == (3, f"the code in {run.name} is not the code that was trained")


@pytest.mark.parametrize("name", ["manifest.json", "verdict.json"])
def test_a_certify_that_did_not_end_is_refused(run, name):
    (run / name).unlink()
    assert refused(run) == (2, f"the certify of {run.name} did not come to its end")


@pytest.mark.parametrize("stream", ["output", "eval", "step"])
def test_a_difference_that_no_step_computes_is_refused(run, stream):
    differ(run, stream=stream)
    code, problem = refused(run)
    assert code == 2 and f"is in {stream}, which no training step computes" in problem


def test_a_run_that_is_not_there_and_no_executions_are_refused(run):
    assert refused(run.with_name("nothing"))[0] == 2
    assert refused(run, times=0) == (2, "--times 0: at least one execution is needed")
