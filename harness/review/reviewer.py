"""The review within a certify: what was read in the code and what the runs showed, judged together."""

from __future__ import annotations

import dataclasses

from harness.documents.verdict import Review
from harness.judge.verdict_inputs import Measured, Reviewer
from harness.review.checklist import judge_checklist
from harness.review.evidence.basis import Basis, Evidence
from harness.review.evidence.state_rules import judge_state
from harness.review.evidence.tracking_rules import judge_tracking
from harness.review.evidence.vram import judge_probe, judge_recorded
from harness.review.finding import Finding, Said, Showing
from harness.review.rules import RULES, severities_of

# Of a prefix one cannot say that something never comes: only what is there and wrong is proven.
_PROVEN_BY_A_PREFIX = ("REP701", "REP705", "REP706", "REP707", "REP708")


def reviewer_of(basis: Basis) -> Reviewer:
    """What judges the whole checklist of a certify, once the runs were measured.

    It raises UsageError where pyproject.toml sets the severity of an unknown rule, or an unknown severity.
    """

    def review(measured: Measured) -> Review:
        said = judge_evidence(Evidence(measured=measured, basis=basis))
        return judge_checklist(
            basis.static,
            RULES,
            severities_of(RULES, basis.severities),
            findings=(one for one in said if isinstance(one, Finding)),
            showings=(one for one in said if isinstance(one, Showing)),
            is_resume_required=basis.is_resume_required,
            measured=None if basis.probe is None else basis.probe.measured(basis.vram_budget_gib),
        )

    return review


def judge_evidence(evidence: Evidence) -> list[Said]:
    """Every finding and every showing of the runs; before any run, only what the experiment declares."""
    basis, straight = evidence.basis, evidence.measured.inputs.straight
    if basis.probe is not None:
        memory = judge_probe(basis.probe, basis.vram_budget_gib, basis.num_gpus)
    else:
        memory = judge_recorded(straight, basis.vram_budget_gib, basis.num_gpus, basis.config)
    said = [*judge_tracking(evidence), *(judge_state(evidence) if straight is not None else ())]
    if not evidence.measured.is_finished:
        said = [_by_a_prefix(one) for one in said]
    return [memory, *said]


def _by_a_prefix(said: Said) -> Said:
    if isinstance(said, Finding) and said.rule not in _PROVEN_BY_A_PREFIX:
        return dataclasses.replace(said, certainty="possible")
    return said
