"""The documents of a finished certify or replay, all from the same verdict, manifest and curves.

report.html for people, summary.md and junit.xml for a CI system, badge.svg and macros.tex for a paper. Equal evidence
gives equal bytes, so that `verify` can render them again and compare.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.evidence.ledger import Ledger, Progress
from harness.evidence.trajectory import TrajectoryEvidence
from harness.report.badge import render_badge
from harness.report.curves import Curve, curve_from_rows
from harness.report.html import render_report
from harness.report.junit import render_junit
from harness.report.macros import render_macros
from harness.report.markdown import render_summary

NAMES = ("report.html", "summary.md", "junit.xml", "badge.svg", "macros.tex")


def curves_of(trajectories: Iterable[TrajectoryEvidence]) -> tuple[Curve, ...]:
    """What each run reported at each step, for plots."""
    return tuple(
        curve_of(trajectory.name, run.record.number, run.ledger, run.progress)
        for trajectory in trajectories
        for run in trajectory.runs
    )


def curve_of(trajectory: str, number: int, ledger: Ledger | None, progress: Iterable[Progress]) -> Curve:
    """What one run reported; of a run whose progress was not kept, losses and learning rates are the ledger's."""
    rows = [dataclasses.asdict(row) for row in progress]
    evals = [] if ledger is None else [{"kind": "eval", "step": one.step, "loss": [*one.loss]} for one in ledger.evals]
    return curve_from_rows(trajectory, number, rows or _ledger_rows(ledger), evals)


def render_documents(verdict: dict[str, Any], manifest: dict[str, Any], curves: Sequence[Curve]) -> dict[str, bytes]:
    """Each document's bytes, by its name in the run's folder.

    Keys are put in order first, so that a verdict that was just made and one that was read back give the same bytes.
    """
    verdict, manifest = (json.loads(json.dumps(value, sort_keys=True)) for value in (verdict, manifest))
    texts = (
        render_report(verdict, manifest, curves),
        render_summary(verdict, manifest),
        render_junit(verdict, manifest),
        render_badge(verdict),
        render_macros(verdict, manifest, curves),
    )
    return {name: text.encode() for name, text in zip(NAMES, texts, strict=True)}


def write_reports(folder: Path, verdict: dict[str, Any], manifest: dict[str, Any], curves: Sequence[Curve]) -> None:
    """Write every document into a run's folder."""
    for name, content in render_documents(verdict, manifest, curves).items():
        (folder / name).write_bytes(content)


def _ledger_rows(ledger: Ledger | None) -> list[dict[str, Any]]:
    """Step, loss and learning rate as a ledger has them; the recorder's progress adds up micro-batches as well."""
    steps = () if ledger is None else ledger.steps
    return [{"step": one.step, "loss": _total(one.loss), "lr": one.lr[0] if one.lr else None} for one in steps]


def _total(losses: Sequence[str]) -> float:
    try:
        return math.fsum(float.fromhex(loss) for loss in losses) if losses else math.nan
    except (ValueError, OverflowError):
        return math.nan
