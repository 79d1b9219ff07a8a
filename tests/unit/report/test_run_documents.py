from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.documents.digest import sha256
from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.evidence.ledger import Progress, parse_ledger, rechain
from harness.report.curves import curve_of
from harness.report.documents import NAMES, render_documents, write_reports
from harness.report.html import render_report
from harness.report.junit import render_junit
from harness.report.lines import kills
from harness.report.markdown import render_summary
from tests import ROOT
from tests.made import replay_data
from tests.made import report_data as data
from tests.made.page_checks import Page


def ledger_bytes(*losses: float) -> bytes:
    root = "sha256:" + "ab" * 32
    state = {"step": 0, "streams": {"param": root}, "counts": {}, "step_source": "fresh"}
    lines = [{"kind": "start", "schema": 1, **state}]
    lines += [
        {
            "kind": "step",
            "step": step,
            "micro_batches": 2,
            "skipped": False,
            "loss": [(loss / 2).hex()] * 2,
            "lr": [(0.5).hex()],
            "streams": {"loss": root},
        }
        for step, loss in enumerate(losses, start=1)
    ]
    return rechain(b"".join(json.dumps(line | {"chain": ""}).encode() + b"\n" for line in lines))


def test_a_run_folder_gets_every_document(tmp_path: Path) -> None:
    write_reports(tmp_path, data.verdict(), data.manifest(), data.curves())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)


def test_documents_do_not_depend_on_the_order_of_keys() -> None:
    verdict, manifest = data.verdict(data.DIVERGED), data.manifest()
    read_back = Verdict.load(verdict.write(), "verdict.json"), Manifest.load(manifest.write(), "manifest.json")
    assert render_documents(verdict, manifest, data.curves()) == render_documents(*read_back, data.curves())


def test_another_process_with_another_hash_seed_and_locale_writes_the_same_bytes() -> None:
    code = (
        "import hashlib; from tests.made import report_data as d;"
        "from harness.report.documents import render_documents as r;"
        "print(hashlib.sha256(b''.join(r(d.verdict(d.DIVERGED), d.manifest(), d.curves(0.02)).values())).hexdigest())"
    )
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "unit" / "report")])
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
            env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": seed, "LC_ALL": locale, "TZ": zone},
        ).stdout
        for seed, locale, zone in (("1", "C", "UTC"), ("2", "C.UTF-8", "Asia/Tokyo"))
    }
    here = b"".join(render_documents(data.verdict(data.DIVERGED), data.manifest(), data.curves(0.02)).values())
    assert found == {str(sha256(here)).removeprefix("sha256:") + "\n"}


def test_a_run_without_progress_is_drawn_from_its_ledger() -> None:
    ledger = parse_ledger(ledger_bytes(3.0, 2.5), "ledger.jsonl")
    curve = curve_of("straight", 1, ledger, ())
    assert (curve.steps, curve.losses, curve.learning_rates) == ((1, 2), (3.0, 2.5), (0.5, 0.5))
    assert all(math.isnan(value) for value in curve.seconds) and curve.rss_bytes == (None, None)
    page = Page(render_report(data.verdict(), None, [curve]))
    assert "Training loss by optimizer step" in page.text and page.problems == []


def test_what_a_run_reported_goes_before_its_ledger() -> None:
    row = Progress(step=1, loss=9.0, lr=0.1, seconds=0.5, rss_bytes=7, vram_bytes=8, recorder_seconds=0.05)
    curve = curve_of("straight", 1, parse_ledger(ledger_bytes(3.0, 2.5), "ledger.jsonl"), (row,))
    assert (curve.steps, curve.losses, curve.recorder_seconds) == ((1,), (9.0,), (0.05,))


def test_memory_and_step_time_of_every_run_stand_in_the_page() -> None:
    volatile = {"run_id": "x", "runs": [{"run": "straight/1", "seconds": 83.4}]}
    manifest = data.manifest(runs=data.MANIFEST["runs"][:1], volatile=volatile)
    rows = [
        Progress(
            step=step,
            loss=1.0,
            lr=0.1,
            seconds=0.25 * step,
            rss_bytes=1 << 30,
            vram_bytes=(3 + step) << 30,
            recorder_seconds=0.025 * step,
        )
        for step in (1, 2, 3)
    ]
    text = Page(render_report(data.verdict(), manifest, [curve_of("straight", 1, None, rows)])).text
    assert "straight 1 run by itself 0 1 min 23 s 3 500 ms 750 ms 10% 1.0 GiB 6.0 GiB" in text
    assert "Step time, s, Memory, GiB, GPU memory, GiB, Learning rate" in text


def test_a_vetoed_experiment_that_was_never_run_says_so_in_one_place() -> None:
    verdict = data.verdict(data.INCONCLUSIVE, verdict="VETOED")
    text = Page(render_report(verdict, None)).text
    assert "Nothing was run" in text and "Map of equality" not in text
    assert "Nothing was run" not in Page(render_report(data.verdict(replay_data.CERTIFIED), None)).text


NEVER_CAME = [
    data.interruption("micro_batch", 9, 1, 6) | {"landed": False, "signal": None, "exit_code": None},
    data.interruption("after_step", 20, 2, 18) | {"landed": False, "signal": None, "exit_code": None},
]


@pytest.mark.parametrize(("word", "heading"), [("VETOED", "Nothing was run"), ("INCONCLUSIVE", "Nothing was compared")])
def test_kills_and_controls_that_were_only_planned_are_not_shown_as_missed(word: str, heading: str) -> None:
    verdict = data.verdict(data.INCONCLUSIVE, verdict=word, interruptions=NEVER_CAME)
    page = Page(render_report(verdict, None)).text
    assert heading in page
    for untrue in ("no signal", "not detected", "The host read"):
        assert untrue not in page + render_summary(verdict, None) + render_junit(verdict, None)


def test_a_kill_that_a_failed_run_kept_from_its_turn_is_told_apart_from_one_that_missed() -> None:
    missed = data.interruption("micro_batch", 9, 1, 6) | {"landed": False, "signal": None, "exit_code": 1}
    verdict = data.verdict(interruptions=[missed, NEVER_CAME[1]])
    text = Page(render_report(verdict, data.manifest(), data.curves())).text
    assert "no signal, exit code 1 no after step 6" in text and "there was no such process not reached" in text
    assert kills(verdict) == ()


def test_a_control_that_was_not_made_is_told_apart_from_one_that_was_not_detected() -> None:
    made = data.CERTIFIED["control"]["controls"][0]
    missing = data.verdict(control={"controls": [made], "failed_as_it_must": False})
    missed = data.verdict(control={"controls": [made | {"detected": False}], "failed_as_it_must": False})
    one, two = (Page(render_report(verdict, None)).text for verdict in (missing, missed))
    assert "Not every control was made" in one and "At least one planted difference was not detected" not in one
    assert "At least one planted difference was not detected" in two
