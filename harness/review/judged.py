"""The review of a case: what was read in the code and what the runs showed, judged together."""

from __future__ import annotations

from harness.review.checklist import Review, judge_checklist
from harness.review.evidence.judging import judge_evidence
from harness.review.evidence.state_rules import Measured
from harness.review.rule import with_severities
from harness.review.rules import RULES


def review_of(measured: Measured) -> Review:
    """The whole checklist of a certify.

    Raises:
        UsageError: pyproject.toml sets the severity of an unknown rule, or an unknown severity.
    """
    findings, showings = judge_evidence(measured)
    basis = measured.basis
    severities = with_severities(RULES, dict(basis.severities))
    probed = None if basis.probe is None else basis.probe.to_json(basis.vram_budget_gib)
    return judge_checklist(basis.static, RULES, severities, findings=findings, showings=showings, measured=probed)


def review_problems(review: Review | None, others: list[str], *, has_run: bool) -> tuple[str, ...]:
    """Everything against a certificate: vetoes first, then `others`, then what could not be told of V1 to V5.

    Seeds, checkpoints and resumes (V1, V2, V5) cannot be told where a run failed: that is no second problem. Where a
    veto kept the runs from taking place, that they did not is none either.
    """
    if review is None:
        return tuple(others)
    if review.vetoes and not has_run:
        return review.vetoes
    undecided = [text for text in review.undecided if not others or text.startswith(("V3", "V4"))]
    return (*review.vetoes, *others, *undecided)
