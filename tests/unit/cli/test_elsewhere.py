"""What runs on Windows and macOS: the commands that only read. None is here: what POSIX has is taken away."""

import os
import subprocess
import sys

import pytest

from tests import ROOT
from tests.made.finished_run import make_run

PUBLISHED = next((ROOT / "manifests" / "tiny").iterdir())


def harness(*arguments, cwd=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "tests.made.without_posix", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("verify", PUBLISHED), "CONSISTENT: the manifest says CERTIFIED"),
        (("review", "pipelines/plain/train.py"), "REVIEW: no veto"),
        (("diff", PUBLISHED / "straight", PUBLISHED / "straight"), "EQUAL"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_command_that_reads_runs_without_posix(arguments, said):
    done = harness(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert said in done.stdout


def test_the_reports_of_a_run_are_written_without_posix(tmp_path):
    run, _, _ = make_run(tmp_path / "checkout")
    done = harness("report", run, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("report-*/report.html"))


@pytest.mark.parametrize("command", ["certify", "doctor"])
def test_a_command_that_trains_says_that_it_needs_linux(command):
    done = harness(command, *(["plain", "--allow-dirty"] if command == "certify" else []))
    assert done.returncode == 6
    assert "error: this command needs Linux: there is no " in done.stderr and "docs/guide/machines.md" in done.stderr
