"""The review within a certify: what was read in the code and what the runs showed, judged together."""

from __future__ import annotations

from harness.documents.verdict import Review
from harness.judge.verdict_inputs import Measured, Reviewer
from harness.review.basis import Basis
from harness.review.checklist import judge_checklist
from harness.review.evidence.judging import judge_evidence
from harness.review.evidence.state_rules import Evidence
from harness.review.rule import with_severities
from harness.review.rules import RULES


def reviewer_of(basis: Basis) -> Reviewer:
    """What judges the whole checklist of a certify, once the runs were measured.

    It raises UsageError where pyproject.toml sets the severity of an unknown rule, or an unknown severity.
    """

    def review(measured: Measured) -> Review:
        findings, showings = judge_evidence(Evidence(measured=measured, basis=basis))
        severities = with_severities(RULES, dict(basis.severities))
        probed = None if basis.probe is None else basis.probe.to_json(basis.vram_budget_gib)
        return judge_checklist(basis.static, RULES, severities, findings=findings, showings=showings, measured=probed)

    return review
