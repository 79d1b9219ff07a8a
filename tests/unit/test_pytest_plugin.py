"""The plugin, in a pytest of its own whose certify is played by its conftest.py."""

import os
import subprocess
import sys

import pytest

from tests import ROOT

CONFTEST = """\
from harness import api
from harness.errors import UsageError
from harness.workflow.results import Result
from tests.made import report_data as data

def certify(name, *, root, progress, **options):
    if name == "absent":
        raise UsageError("there is no experiment 'absent'", "did you mean present")
    progress(f"certifying {name} in {root} with {sorted(options.items())}")
    verdict = data.verdict(data.DIVERGED if name == "broken" else data.CERTIFIED)
    return Result(folder=root, verdict=verdict, manifest=data.manifest())

api.certify = certify
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_own.py").write_text("def test_own(): pass\n")

    def run(*arguments):
        command = [sys.executable, "-m", "pytest", "-p", "harness.pytest_plugin", "-p", "no:cacheprovider", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # an installed one is loaded by itself as well
        environment.pop("PYTEST_ADDOPTS", None)
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def test_an_experiment_is_a_test_beside_the_others(run):
    result = run("--harness", "fine", "--harness", "fine", "--strict-markers")
    assert result.returncode == 0 and "2 passed" in result.stdout, result.stdout
    assert run().stdout.count("1 passed") == 1


def test_what_is_not_certified_fails_with_where_and_why_and_no_traceback(run):
    result = run("--harness", "broken", "--harness-steps", "7", "--harness-runner", "host")
    assert result.returncode == 1 and "1 failed, 1 passed" in result.stdout
    for words in (
        "rng differs at step 7",
        "The random number generators were not restored",
        "VERDICT: DIVERGED",
        "('steps', 7)",
    ):
        assert words in result.stdout, result.stdout
    assert "FAILED harness::broken - " in result.stdout
    assert "Traceback" not in result.stdout and "pytest_plugin.py" not in result.stdout


def test_what_could_not_be_done_fails_with_its_remedy(run):
    result = run("--harness", "absent")
    assert result.returncode == 1
    assert "error: there is no experiment 'absent'\n  remedy: did you mean present" in result.stdout


@pytest.mark.parametrize(("marker", "passed"), [("harness", "1 passed, 1 deselected"), ("not slow", "1 passed, 1 des")])
def test_markers_choose_the_experiments_or_leave_them_out(run, marker, passed):
    assert passed in run("--harness", "fine", "-m", marker, "--strict-markers").stdout
