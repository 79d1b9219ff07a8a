"""The documents of a finished certify or replay, all from the same verdict, manifest and curves.

report.html for people, summary.md and junit.xml for a CI system, badge.svg and macros.tex for a paper, README.txt for
who was given the run. Equal evidence gives equal bytes, so that `verify` can render them again and compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.report.badge import render_badge
from harness.report.curves import Curve
from harness.report.html import render_report
from harness.report.junit import render_junit
from harness.report.macros import render_macros
from harness.report.markdown import render_summary
from harness.report.readme import render_readme

NAMES = ("report.html", "summary.md", "junit.xml", "badge.svg", "macros.tex", "README.txt")


def render_documents(verdict: Verdict, manifest: Manifest | None, curves: Sequence[Curve]) -> dict[str, bytes]:
    """Each document's bytes, by its name in the run's folder."""
    texts = (
        render_report(verdict, manifest, curves),
        render_summary(verdict, manifest),
        render_junit(verdict, manifest),
        render_badge(verdict),
        render_macros(verdict, manifest, curves),
        render_readme(verdict, manifest),
    )
    return {name: text.encode() for name, text in zip(NAMES, texts, strict=True)}


def write_reports(folder: Path, verdict: Verdict, manifest: Manifest, curves: Sequence[Curve]) -> None:
    """Write every document into a run's folder."""
    for name, content in render_documents(verdict, manifest, curves).items():
        (folder / name).write_bytes(content)
