"""What a training wrote beside its declared files is read without trust: bounds, links, and what cannot be read."""

from __future__ import annotations

import json
import os

import pytest

from harness.runs import load_metrics
from harness.runs.load_metrics import kind_of, load_run_files


@pytest.fixture
def output(tmp_path):
    folder = tmp_path / "output"
    folder.mkdir()
    return folder


def files_of(output):
    found = load_run_files(output.parent, "straight")
    return {file.path: file for file in found.files}, found.problems


def test_names_tell_how_a_file_is_read():
    assert kind_of("tb/events.out.tfevents.1795.host.6.0") == "tensorboard"
    assert kind_of("wandb/offline-run-1/run-1.wandb") == "wandb"
    assert (kind_of("metrics.jsonl"), kind_of("a/config.json"), kind_of("model.safetensors")) == ("jsonl", "json", None)


def test_rows_and_documents_are_read_wherever_they_lie(output):
    (output / "deep" / "er").mkdir(parents=True)
    (output / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2')
    (output / "deep" / "er" / "config.json").write_text(json.dumps({"seed": 1}))
    (output / "weights.bin").write_bytes(b"x")
    files, problems = files_of(output)
    assert files["metrics.jsonl"].rows == ({"step": 1, "loss": 2.0},)
    assert files["deep/er/config.json"].document == {"seed": 1}
    assert set(files) == {"metrics.jsonl", "deep/er/config.json"} and problems == ()


def test_what_cannot_be_read_is_told_with_its_reason(output):
    (output / "a.json").write_bytes(b"\xff\xfe{")
    (output / "events.out.tfevents.1").write_bytes(b"this is no event file, but long enough to be looked at")
    (output / "run.wandb").write_bytes(b"nor is this one")
    (output / "m.jsonl").write_text("[1]\n[2]\n")
    files, _ = files_of(output)
    assert all(file.problem for file in files.values()) and len(files) == 4
    assert not any(file.is_empty for file in files.values()), "what cannot be read is not called empty"


def test_an_empty_file_is_empty_and_no_error(output):
    (output / "m.jsonl").write_bytes(b"")
    files, _ = files_of(output)
    assert files["m.jsonl"].is_empty and not files["m.jsonl"].problem


def test_links_and_pipes_are_not_opened(output, tmp_path):
    (tmp_path / "secret.json").write_text('{"token": 1}')
    (output / "a.json").symlink_to(tmp_path / "secret.json")
    (output / "loop").symlink_to(output)
    os.mkfifo(output / "p.jsonl")
    files, _ = files_of(output)
    assert files == {}


def test_sizes_and_numbers_are_bounded(output, monkeypatch):
    monkeypatch.setattr(load_metrics, "MAX_DOCUMENT_BYTES", 100)
    monkeypatch.setattr(load_metrics, "MAX_FILES", 3)
    (output / "metrics.jsonl").write_text("{}\n")
    (output / "big.json").write_text(json.dumps("x" * 200))
    for number in range(9):
        (output / f"{number}.json").write_text("{}")
    files, problems = files_of(output)
    assert "metrics.jsonl" in files, "metrics come before documents"
    assert len(files) == 3 and problems == ("straight: of 11 files of metrics and settings, 3 were read",)
    monkeypatch.setattr(load_metrics, "MAX_FILES", 20)
    assert "at most 100" in files_of(output)[0]["big.json"].problem


def test_no_output_is_a_problem_in_words(tmp_path):
    found = load_run_files(tmp_path, "straight")
    assert found.files == () and "there is no folder output" in found.problems[0]
