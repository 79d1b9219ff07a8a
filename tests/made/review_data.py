"""A review with one of everything in it."""

from __future__ import annotations

from typing import Any

from harness.documents.verdict import Review, UnreadFile
from harness.review.checklist import judge_checklist
from harness.review.finding import Finding, Place, Showing, StaticReview
from harness.review.rules import RULES, severities_of

NASTY = "src/a,b:c%d\ne ü.py"
FINDINGS = (
    Finding(rule="REP707", certainty="proven", place=Place(path="src/train.py", line=12, column=5), message="no seed"),
    Finding(rule="REP701", certainty="possible", place=Place(path="src/save.py", line=3), message="no scheduler"),
    Finding(rule="REP712", certainty="proven", place=None, message="config.json is another one"),
    Finding(rule="REP703", certainty="proven", place=Place(path=NASTY), message="no such name"),
    Finding(
        rule="REP706",
        certainty="proven",
        place=Place(path="src/train.py", line=2),
        message="differs",
        allowed="known: issue 7",
    ),
)
SHOWINGS = (
    Showing(item="V3", state="holds", text="cpu.lock pins 9", is_measured=True),
    Showing(item="V4", state="does not apply", text="no GPU is used", is_measured=True),
    Showing(item="T2", state="holds", text="set here", place=Place(path="src/train.py", line=1)),
)
MEASURED: dict[str, Any] = {
    "device": "cuda",
    "gpu": "NVIDIA Example",
    "method": "two steps at 128 tokens",
    "in_force": ["bf16"],
    "budget_bytes": 24 << 30,
    "variants": [
        {
            "name": "as configured",
            "settings": {},
            "is_estimate": False,
            "peak_allocated_bytes": 6 << 30,
            "peak_reserved_bytes": 12 << 30,
            "phases": {"forward": {"peak_allocated_bytes": 1 << 30, "peak_reserved_bytes": 3 << 30}},
        }
    ],
}


def review(*findings: Finding, measured: dict[str, Any] | None = None) -> Review:
    static = StaticReview(
        findings=findings or FINDINGS,
        showings=SHOWINGS,
        unread=(UnreadFile(path="big.py", reason="one line of 50 MB"),),
        num_files=4,
    )
    return judge_checklist(static, RULES, severities_of(RULES, {}), measured=measured)


REVIEW = review(measured=MEASURED)
