"""The rules on evidence (REP7xx): what the runs left behind, held against the checklist. Nothing is unpickled."""

from __future__ import annotations

import dataclasses

from harness.review.evidence.state_rules import Evidence, judge_state
from harness.review.evidence.tracking_rules import judge_tracking
from harness.review.evidence.vram import judge_probe, judge_recorded
from harness.review.finding import Finding, Showing

# Of a prefix one cannot say that something never comes: only what is there and wrong is proven.
_PROVEN_BY_A_PREFIX = ("REP701", "REP705", "REP706", "REP707", "REP708")


def judge_evidence(evidence: Evidence) -> tuple[tuple[Finding, ...], tuple[Showing, ...]]:
    """Every finding and every showing of the runs; before any run, only what the experiment declares."""
    basis, straight = evidence.basis, evidence.measured.inputs.straight
    if basis.probe is not None:
        findings, showings = judge_probe(basis.probe, basis.vram_budget_gib, basis.num_gpus)
    else:
        findings, showings = judge_recorded(straight, basis.vram_budget_gib, basis.num_gpus, basis.config)
    said = [*judge_tracking(evidence)]
    if straight is not None:
        said += judge_state(evidence)
    found = [one for one in said if isinstance(one, Finding)]
    if not evidence.measured.is_finished:
        found = [f if f.rule in _PROVEN_BY_A_PREFIX else dataclasses.replace(f, certainty="possible") for f in found]
    return (
        (*findings, *found),
        (*showings, *(one for one in said if isinstance(one, Showing))),
    )
