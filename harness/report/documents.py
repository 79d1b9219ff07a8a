"""The documents of a finished certify: report.html, summary.md and junit.xml, from the same verdict and manifest."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.core.evidence import RunEvidence, TrajectoryEvidence
from harness.report.curves import Curve, curve_from_rows
from harness.report.html import render_report
from harness.report.junit import render_junit
from harness.report.markdown import render_summary


def curves_of(trajectories: Iterable[TrajectoryEvidence]) -> tuple[Curve, ...]:
    """What each run reported at each step, for plots."""
    return tuple(_curve(trajectory.name, run) for trajectory in trajectories for run in trajectory.runs)


def write_reports(folder: Path, verdict: dict[str, Any], manifest: dict[str, Any], curves: Sequence[Curve]) -> None:
    """Write the three documents into a run's folder."""
    (folder / "report.html").write_text(render_report(verdict, manifest, curves), encoding="utf-8")
    (folder / "summary.md").write_text(render_summary(verdict, manifest), encoding="utf-8")
    (folder / "junit.xml").write_text(render_junit(verdict, manifest), encoding="utf-8")


def _curve(trajectory: str, run: RunEvidence) -> Curve:
    evals = run.ledger.evals if run.ledger else ()
    ledger = [{"kind": "eval", "step": record.step, "loss": list(record.loss)} for record in evals]
    return curve_from_rows(trajectory, run.record.number, map(dataclasses.asdict, run.progress), ledger)
