"""The review of code that is no experiment's: nothing runs, so nothing is measured (judged.py has the other one)."""

from __future__ import annotations

from collections.abc import Mapping

from harness.review.checklist import Review, judge_checklist
from harness.review.finding import StaticReview
from harness.review.rule import with_severities
from harness.review.rules import RULES


def review_of_code(static: StaticReview, changed: Mapping[str, str]) -> Review:
    """The checklist by the code alone, for code that is no experiment's.

    Raises:
        UsageError: pyproject.toml sets the severity of an unknown rule, or an unknown severity.
    """
    return judge_checklist(static, RULES, with_severities(RULES, dict(changed)))
