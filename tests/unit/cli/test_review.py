"""`harness review` as a person calls it: targets, formats, exit codes."""

import json
import subprocess
import xml.etree.ElementTree as ET

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.errors import UsageError
from tests import ROOT

UNPINNED = "torch\nnumpy>=1.26\n"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A folder of somebody's training code with a requirement that is not pinned."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "requirements.txt").write_text(UNPINNED)
    (folder / "train.py").write_text("import torch\n\nmodel = torch.nn.Linear(2, 2)\n")
    monkeypatch.chdir(tmp_path)
    return folder


def review(tmp_path, *arguments):
    runner = CliRunner(env={"HARNESS_CACHE": str(tmp_path / "cache")})
    return runner.invoke(cli, ["--root", str(tmp_path), "review", *arguments], standalone_mode=False)


def test_a_proven_veto_answers_4_and_a_clean_file_0(tmp_path, tree):
    done = review(tmp_path, "theirs")
    assert done.exception is None, done.output
    assert done.return_value == 4
    assert "V3" in done.output and "requirements.txt" in done.output
    assert done.output.rstrip().endswith("REVIEW: VETOED")
    (tree / "requirements.txt").unlink()
    alone = review(tmp_path, "theirs/train.py")
    assert alone.return_value == 0 and alone.output.rstrip().endswith("REVIEW: no veto")


def test_a_severity_in_the_targets_pyproject_is_followed(tmp_path, tree):
    document = json.loads(review(tmp_path, "theirs", "--format", "json").output)
    vetoes = {finding["rule"] for finding in document["findings"] if finding["severity"] == "veto"}
    lines = "".join(f'{rule} = "warning"\n' for rule in sorted(vetoes))
    (tree / "pyproject.toml").write_text(f"[tool.harness.review.severity]\n{lines}")
    done = review(tmp_path, "theirs", "--format", "json")
    assert done.return_value == 0 and json.loads(done.output)["vetoes"] == []
    (tree / "pyproject.toml").write_text('[tool.harness.review.severity]\nREP999 = "off"\n')
    assert isinstance(review(tmp_path, "theirs").exception, UsageError)


def test_every_format_is_what_it_says_and_tells_paths_from_here(tmp_path, tree):
    sarif = json.loads(review(tmp_path, "theirs", "--format", "sarif").output)
    uris = {
        location["physicalLocation"]["artifactLocation"]["uri"]
        for result in sarif["runs"][0]["results"]
        for location in result.get("locations", [])
    }
    assert "theirs/requirements.txt" in uris
    junit = ET.fromstring(review(tmp_path, "theirs", "--format", "junit").output)
    assert junit.tag == "testsuites" and int(junit.get("failures")) > 0
    lines = review(tmp_path, "theirs", "--format", "github").output.splitlines()
    assert any(line.startswith("::error file=theirs/requirements.txt,") for line in lines)
    document = json.loads(review(tmp_path, "theirs", "--json").output)
    assert len(document["checklist"]) == 27


@pytest.mark.parametrize("kind", ["table", "sarif", "junit", "github", "json"])
def test_a_format_can_be_written_into_a_file(tmp_path, tree, kind):
    done = review(tmp_path, "theirs", "--format", kind, "--output", "out.txt")
    assert done.return_value == 4 and done.output == ""
    assert (tmp_path / "out.txt").read_text().strip()


def test_what_is_not_there_and_what_cannot_be_probed_are_errors_of_usage(tmp_path, tree):
    missing = review(tmp_path, "nowhere")
    assert isinstance(missing.exception, UsageError) and "neither a path nor an experiment" in missing.exception.problem
    probed = review(tmp_path, "theirs", "--probe")
    assert isinstance(probed.exception, UsageError)


def test_files_that_cannot_be_read_are_always_shown(tmp_path, tree):
    (tree / "broken.py").write_text("def f(:\n")
    shown = review(tmp_path, "theirs").output
    assert "broken.py" in shown.partition("Not read")[2]


def test_nothing_of_the_code_is_run(tmp_path, tree):
    (tree / "train.py").write_text("import pathlib\npathlib.Path('ran').touch()\nraise SystemExit(1)\n")
    review(tmp_path, "theirs")
    assert not (tmp_path / "ran").exists() and not (tree / "ran").exists()


def test_make_passes_the_name_as_a_variable_and_never_as_text(tmp_path):

    root = ROOT
    shown = subprocess.run(
        ["make", "-n", "review", "EXP=$(touch oops); x"], cwd=root, capture_output=True, text=True, check=True
    ).stdout
    assert "touch oops" not in shown and 'review -- "$EXP_NAME"' in shown
