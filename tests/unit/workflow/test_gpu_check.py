"""The checks that wait for a GPU: what needs none of them is made on the CPU, by the same code."""

import json
import os
import sys
from pathlib import Path

import pytest

from harness.documents.gpu import Gpu
from harness.documents.scope import prefix_of
from harness.errors import UsageError
from harness.report.console import Progress
from harness.system.git import read_checkout
from harness.system.gpu import Inventory
from harness.system.project import read_experiment
from harness.system.store import open_store
from harness.workflow.gpu_check import report
from harness.workflow.gpu_check.bench import BF16, ESTIMATE, FP16, FULL, MEMORY, Bench, make_bench, read_base
from harness.workflow.gpu_check.checks import CHECKS, Found
from tests import ROOT

# `scaler` is `certified` with another experiment.
ON_A_CPU = ("digests", "certified", "determinism", "replayed", "memory")


def bench_in(folder, python, root=ROOT):
    return Bench(
        root=root,
        work=folder / "work",
        store=open_store(folder / "cache", os.environ),
        progress=Progress(),
        python=Path(python),
        device="cpu",
    )


@pytest.fixture(scope="module")
def figures(torch_python, tmp_path_factory):
    """The figures of every check that a CPU can be asked, by its name; all of them are ok."""
    bench = make_bench(bench_in(tmp_path_factory.mktemp("gpu-check"), torch_python))
    rows = report.run_checks(bench, ON_A_CPU, lambda _: None)
    assert [(row.name, row.outcome, row.said) for row in rows] == [(name, "ok", "") for name in ON_A_CPU]
    return {row.name: json.loads(json.dumps(row.figures)) for row in rows}


def test_digests_are_compared_with_the_golden_ones_and_with_the_cpus(figures):
    assert figures["digests"]["num_digests"] > 400 and figures["digests"]["differing"] == []


def test_every_switch_is_flipped_by_itself_and_all_together(figures):
    variants = figures["determinism"]["variants"]
    assert [one["name"] for one in variants][:2] == ["as configured", "deterministic_algorithms: false"]
    assert len(variants) == 9 and all(one["step_s"] > 0 and one["tokens_per_s"] > 0 for one in variants)


def test_the_short_experiment_is_killed_resumed_and_certified(figures):
    assert figures["certified"]["num_steps"] == 24
    kills = [(kill["kind"], kill["step"], kill["landed"]) for kill in figures["certified"]["kills"]]
    assert kills == [("micro_batch", 5, True), ("in_write", 12, True)]


def test_peaks_stand_beside_their_estimates(figures):
    assert all(one["measured_bytes"] == one["estimated_bytes"] > 0 for one in figures["memory"]["variants"])


def test_what_was_certified_is_replayed(figures):
    assert figures["replayed"]["checks"]["replay"] == "CERTIFIED"


def test_a_check_that_fails_in_any_way_ends_no_other_and_each_row_is_kept_at_once(tmp_path, monkeypatch):
    def fails(_):
        """Fails."""
        raise ZeroDivisionError("nobody ran this yet")

    def holds(_):
        """Holds."""
        return Found(figures={"a": 1})

    monkeypatch.setattr(report, "CHECKS", {"nvml": CHECKS["nvml"], "fails": fails, "holds": holds})
    kept = []
    report.run_checks(bench_in(tmp_path, "python"), (), kept.append)
    assert [len(rows) for rows in kept] == [1, 2, 3]
    assert [(row.name, row.outcome) for row in kept[-1]][1:] == [("fails", "failed"), ("holds", "ok")]
    assert kept[-1][1].said == "ZeroDivisionError: nobody ran this yet"


def test_the_results_are_named_by_the_model_and_say_what_was_changed(tmp_path, monkeypatch):
    """A machine with a GPU, and an interpreter that has none of the packages; no check is made."""
    for name in ("pipelines", "lockfiles"):
        (tmp_path / name).symlink_to(ROOT / name)
    card = Gpu(index=0, uuid="GPU-1", name="NVIDIA H200 (80GB)", memory_bytes=80 << 30, used_bytes=0, capability="9.0")
    found = Inventory(gpus=(card,), driver="580.82.07", cuda="13.0")
    monkeypatch.setattr("harness.system.gpu.inventory", lambda: found)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(report, "CHECKS", {"experiments": experiments_of})
    (tmp_path / "gguf.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # the harness's own; no training sees it
    store = open_store(tmp_path / "cache", os.environ)
    path, rows = report.check_gpu(tmp_path, store, Progress(), python=Path(sys.executable), wanted=None, names=())
    assert path == tmp_path / "docs" / "gpu-results" / "NVIDIA-H200-80GB.json" and rows[0].outcome == "ok"
    document = json.loads(path.read_text())
    assert [document["model"], document["driver"], document["gpu"]] == [card.name, found.driver, "GPU-1"]
    assert len(document["changes"]) == 3 and document["checks"][0]["figures"] == {"gpus": [1, 1, 1, 1, 0]}


def experiments_of(bench):
    """Read what the bench wrote."""
    names = (BF16, FP16, MEMORY, FULL, ESTIMATE)
    declared = [read_experiment(bench.work, name) for name in names]
    assert all(prefix_of(one, 1) and not read_checkout(bench.work).is_dirty for one in declared)
    assert {one.config["training"]["device"] for one in declared} == {"cuda"}
    return Found(figures={"gpus": [one.gpus for one in declared]})


def test_outside_of_the_harness_there_is_nothing_to_check_with(tmp_path):
    with pytest.raises(UsageError, match=r"smollm2-cuda\.yaml\n.*in a checkout of the harness"):
        read_base(tmp_path)
