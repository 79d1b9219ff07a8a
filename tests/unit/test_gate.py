"""What the gate for pull requests makes of a verdict: `.github/gate.py`, step by step."""

import json
import os
import subprocess
import sys

import pytest

from tests import ROOT

CERTIFIED = {"verdict": "CERTIFIED", "exit_code": 0}


def gate(tmp_path, text, **environment):
    (tmp_path / "verdict.json").write_text(text)
    result = subprocess.run(
        [sys.executable, str(ROOT / ".github" / "gate.py"), "gate"],
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": os.environ["PATH"],
            "EXPERIMENT": "x",
            "OUTCOME": "success",
            "ARCHIVE": "none",
            "GITHUB_WORKSPACE": str(tmp_path),
            "VERDICT_FILE": str(tmp_path / "verdict.json"),
            **environment,
        },
    )
    assert result.stderr == ""
    return result.returncode, result.stdout


@pytest.mark.parametrize("text", ["x" * (1 << 20), "x" * ((1 << 20) + 5) + "\n", "é" * (1 << 20), "short", "short\n"])
def test_a_summary_stays_within_what_the_service_takes(tmp_path, text):
    run = tmp_path / "runs" / "x" / "20260101T000000Z-aaaaaaa-bbbb"
    run.mkdir(parents=True)
    (tmp_path / "artifact").mkdir()
    (run / "summary.md").write_text(text)
    (tmp_path / "runs-before.json").write_text("[]")
    summary = tmp_path / "summary"
    subprocess.run(
        [sys.executable, str(ROOT / ".github" / "gate.py"), "results"],
        check=True,
        env={
            "EXPERIMENT": "x",
            "FOLDER": str(tmp_path),
            "GITHUB_WORKSPACE": str(tmp_path),
            "GITHUB_OUTPUT": str(tmp_path / "output"),
            "GITHUB_STEP_SUMMARY": str(summary),
        },
    )
    # "supports content up to a size of 1024k": one byte more and nothing at all is shown.
    assert 0 < summary.stat().st_size <= 1 << 20
    assert summary.read_text().strip("\n") == text.strip("\n")[: len(summary.read_text()) - 1]


def test_the_gate_opens_for_certified_and_says_of_what(tmp_path):
    assert gate(tmp_path, json.dumps(CERTIFIED)) == (0, "VERDICT: CERTIFIED\n")
    bounded = {**CERTIFIED, "scope": {"steps": 2, "of": 9}, "overrides": ["config.lr=1"]}
    assert gate(tmp_path, json.dumps(bounded)) == (0, "VERDICT: CERTIFIED (the first 2 of 9 steps, config.lr=1)\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        "[" * 100_000,
        '{"verdict": "certified", "exit_code": 0}',
        '{"verdict": ["CERTIFIED"]}',
        '{"verdict": "CERTIFIED", "exit_code": "0"}',
        '{"verdict": "CERTIFIED", "exit_code": false}',
        '{"verdict": "CERTIFIED", "exit_code": 1}',
        '{"verdict": "CERTIFIED"}',
        *[json.dumps({"verdict": word, "exit_code": 0}) for word in ("DIVERGED", "INCONCLUSIVE", "VETOED", "TAMPERED")],
    ],
)
def test_the_gate_opens_for_nothing_else(tmp_path, text):
    code, out = gate(tmp_path, text)
    assert code == 1 and out.startswith("::error title=")


def test_a_divergence_is_told_at_the_script_with_its_step_stream_cause_and_fix(tmp_path):
    verdict = {
        "verdict": "DIVERGED",
        "exit_code": 1,
        "first_divergence": {"check": "resume", "step": 7, "stream": "rng", "tensor": "torch"},
        "cause": {"class": "rng_not_restored", "title": "The generators were not restored", "fix": "save them"},
    }
    (tmp_path / "train.py").touch()
    (tmp_path / "manifest.json").write_text(json.dumps({"experiment": {"run": ["python", "gone.py", "train.py"]}}))
    code, out = gate(tmp_path, json.dumps(verdict))
    assert (code, out) == (
        1,
        "::error title=DIVERGED%3A resume%2C step 7%2C stream rng%2C tensor torch,file=train.py::"
        "x: the same training gave other bits; the report names the first difference and its cause. "
        "First difference: resume, step 7, stream rng, tensor torch. "
        "Cause: The generators were not restored (rng_not_restored). Fix: save them\n",
    )


def test_what_went_wrong_is_told(tmp_path):
    verdict = {"verdict": "INCONCLUSIVE", "exit_code": 3, "problems": ["the disk is full", "b", "c", "d"]}
    out = gate(tmp_path, json.dumps(verdict))[1]
    assert out.endswith("run the job again. Problem: the disk is full. Problem: b. Problem: c\n")


@pytest.mark.parametrize("manifest", ["", "[]", '{"experiment": 3}', '{"experiment": {"run": "train.py"}}'])
def test_what_cannot_be_read_of_a_divergence_is_left_out(tmp_path, manifest):
    (tmp_path / "manifest.json").write_text(manifest)
    verdict = {"verdict": "DIVERGED", "exit_code": 1, "first_divergence": [], "cause": 3}
    code, out = gate(tmp_path, json.dumps(verdict))
    assert code == 1 and out.startswith("::error title=DIVERGED,file=pipelines/experiments/x.yaml::x: the same")
    assert "First difference" not in out and "Cause" not in out


@pytest.mark.parametrize(
    "environment",
    [
        {"OUTCOME": "failure"},
        {"OUTCOME": "cancelled"},
        {"OUTCOME": ""},
        {"VERDICT_FILE": ""},
        {"ARCHIVE": "evidence", "ARCHIVED": ""},
    ],
)
def test_certified_is_not_enough_where_the_command_or_the_archive_failed(tmp_path, environment):
    assert gate(tmp_path, json.dumps(CERTIFIED), **environment)[0] == 1
