"""What a run wrote beside its declared files: read with bounds, gathered by name."""

from __future__ import annotations

import pytest

from harness.errors import EvidenceError
from harness.review.evidence.run_files import RunFile, RunFiles, contains_config, gather, parse_document, parse_rows
from harness.review.evidence.tracking_files import Series, Text, TrackedRun


def test_a_torn_last_line_is_left_out_and_any_other_is_an_error() -> None:
    assert parse_rows(b'{"step": 1}\n\n{"step": 2', "m") == ({"step": 1},)
    with pytest.raises(EvidenceError, match="m, line 1: no JSON"):
        parse_rows(b'{"step": 1\n{"step": 2}\n', "m")
    with pytest.raises(EvidenceError, match="line 1: no JSON object"):
        parse_rows(b"[1]\n", "m")


def test_hostile_json_is_an_error_and_no_traceback() -> None:
    for data in (b"[" * 200_000, b"\xff\xfe", b"{"):
        with pytest.raises(EvidenceError):
            parse_document(data, "d.json")
    assert parse_rows(b"[" * 200_000, "m") == ()


def test_numbers_become_series_and_texts_stay_texts_whatever_the_file() -> None:
    tracked = TrackedRun(
        kind="wandb",
        series=(Series(name="train/loss", steps=(2, 1)),),
        texts=(Text(name="t", step=1, value="x"),),
        config_keys=(),
        has_config=True,
        num_records=3,
        torn_bytes=0,
    )
    rows = (
        {"kind": "step", "step": 1, "loss": 0.5, "skipped": False, "note": "n"},
        {"global_step": 2, "memory": {"rss": 7}, "paths": ["a.pt"]},
        {"loss": 1.0},
    )
    files = RunFiles(
        files=(
            RunFile(path="run.wandb", kind="wandb", size_bytes=1, tracked=tracked),
            RunFile(path="m.jsonl", kind="jsonl", size_bytes=1, rows=rows),
        )
    )
    logged = gather(files)
    assert logged.series == {
        "global_step": (2,),
        "memory/rss": (2,),
        "step/loss": (1,),
        "step/step": (1,),
        "train/loss": (1, 2),
    }
    assert ("paths/0", "a.pt") in logged.texts and ("t", "x") in logged.texts
    assert logged.sources["train/loss"] == "run.wandb"


@pytest.mark.parametrize(
    ("document", "is_it"),
    [
        ({"a": 1, "b": {"c": [1, 2]}, "more": None}, True),
        ({"config": {"a": 1.0, "b": {"c": [1, 2], "d": 3}}}, True),
        ({"a": 1, "b": {"c": [1]}}, False),
        ({"a": True, "b": {"c": [1, 2]}}, False),
        ({"a": 1}, False),
        ([], False),
        (None, False),
    ],
)
def test_a_configuration_is_found_with_its_defaults_added(document: object, is_it: bool) -> None:
    assert contains_config(document, {"a": 1, "b": {"c": [1, 2]}}) is is_it


def test_an_empty_configuration_is_found_nowhere() -> None:
    assert not contains_config({"a": 1}, {})
