"""`harness diff` of two folders, with real evidence of a run."""

import shutil

import pytest

from harness.errors import EvidenceError, UsageError
from harness.runs.compare_paths import compare_paths
from tests.tamper.made_run import make_run


@pytest.fixture
def pair(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    run = make_run(tmp_path)
    shutil.copytree(run / "straight", run / "again")
    return run / "straight", run / "again"


def test_a_copy_is_equal(pair):
    assert compare_paths(*pair).is_equal


def test_a_file_that_cannot_be_read_is_not_equal(pair):
    file = next(path for path in sorted((pair[1] / "output").rglob("*.safetensors")))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(EvidenceError, match=file.name):
        compare_paths(*pair)


def test_a_difference_that_is_proven_outranks_a_file_that_cannot_be_read(pair):
    output = pair[1] / "output"
    for name, change in (("adapter", slice(None, -1)), ("checkpoints/step8", None)):
        file = output / f"{name}.safetensors"
        data = bytearray(file.read_bytes())
        if change is None:
            data[-1] ^= 1
        file.write_bytes(data[change] if change else data)
    found = compare_paths(*pair)
    assert not found.is_equal
    assert [one.path for one in found.files if one.equal is False] == ["checkpoints/step8.safetensors"]


@pytest.mark.parametrize("name", ["run-last.json", "run-.json", "run-1.5.json", "run-\u00b2.json"])
def test_a_folder_with_other_files_of_such_names_is_no_trajectory(tmp_path, name):
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        (tmp_path / side / name).write_text("{}")
    with pytest.raises(UsageError, match="is no trajectory"):
        compare_paths(tmp_path / "a", tmp_path / "b")
