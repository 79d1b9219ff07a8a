"""`harness.api`: what docs/guide/python.md shows, with what the commands give."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

import harness
from harness import api, errors
from tests import ROOT

PUBLISHED = sorted((ROOT / "manifests" / "tiny").glob("*/"))[-1]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


def test_importing_it_is_cheap():
    heavy = "torch", "docker", "numpy", "pydantic", "click", "requests", "harness.workflow"
    code = f"import sys, harness.api, harness.pytest_plugin; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_verify_gives_the_word_also_as_a_room_that_is_called(capsys):
    found = api.verify(PUBLISHED, root=ROOT)
    assert harness.verify(PUBLISHED, root=ROOT).summary == found.summary
    assert (found.word, found.exit_code) == ("CONSISTENT", 0) and found.checks
    assert capsys.readouterr() == ("", ""), "nothing is printed"


def test_diff_compares_files(tmp_path):
    for name, value in (("a", 1.0), ("b", 1.0), ("c", 2.0)):
        save_file({"w": np.array([value])}, tmp_path / name)
    assert api.diff(tmp_path / "a", tmp_path / "b").is_equal
    assert not api.diff(str(tmp_path / "a"), str(tmp_path / "c")).is_equal


def test_review_gives_findings(tmp_path):
    (tmp_path / "requirements.txt").write_text("torch\n")
    (tmp_path / "train.py").write_text("import torch\n")
    lines = []
    found = api.review(tmp_path, root=tmp_path, progress=lines.append).review
    assert all(isinstance(line, str) for line in lines)
    assert any(finding.path == "requirements.txt" for finding in found.findings) and found.vetoes


def test_what_cannot_be_done_is_an_error_of_the_harness(tmp_path):
    with pytest.raises(errors.UsageError):
        api.certify("nothing", root=tmp_path, runner="host")
    with pytest.raises(errors.UsageError):
        api.diff(tmp_path, PUBLISHED / "verdict.json")


def test_without_the_extra_certify_names_it(tmp_path):
    code = "import sys; sys.modules['docker'] = None; import harness; harness.certify('plain', root=sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, cwd=ROOT, check=False)
    assert "harness.errors.HostError: this needs docker, which is not installed" in done.stderr
    assert "  remedy: pip install 'repro-harness[certify]'" in done.stderr


def test_the_guide_names_what_there_is():
    page = (ROOT / "docs" / "guide" / "python.md").read_text()
    shown = set(re.findall(r"harness\.(\w+)\(", page)) | set(re.findall(r"^\| `(\w+)\(", page, re.M))
    assert shown == {"certify", "verify", "diff", "review"}
    for code in re.findall(r"```python\n(.*?)```", page, re.S):
        compile(code, "python.md", "exec")
    assert json.loads((PUBLISHED / "verdict.json").read_text())["run_id"] in page


@pytest.mark.parametrize("options", [{"runner": "hots"}, {"engine": "docker"}])
def test_a_choice_that_there_is_not_is_refused(tmp_path, options):
    with pytest.raises(errors.UsageError, match=r"(runner|engine) is"):
        api.certify("plain", root=tmp_path, **options)


@pytest.mark.parametrize("path", ["a\0b", 7, b"bytes"])
def test_what_is_no_path_is_wrong_usage(path, tmp_path):
    calls = (
        lambda: api.diff(path, tmp_path),
        lambda: api.diff(tmp_path, path),
        lambda: api.verify(path),
        lambda: api.verify(PUBLISHED, root=path),
        lambda: api.review(path),
        lambda: api.certify("tiny", root=path),
        lambda: api.certify("tiny", python=path),
    )
    for call in calls:
        with pytest.raises(errors.UsageError, match="is no path"):
            call()


@pytest.mark.parametrize("option", [{"steps": "x"}, {"steps": True}, {"steps": 1.5}, {"gpu": 0}, {"name": 3}])
def test_options_of_another_type_are_wrong_usage(option, tmp_path):
    with pytest.raises(errors.UsageError, match=f"{next(iter(option))} is"):
        api.certify(**{"name": "tiny", "root": tmp_path, **option})
