"""What the review saw a seed come from names the cause that the runs showed."""

from harness.documents.verdict import Cause, Review, ReviewFinding
from harness.judge.verdict import _with_seeds


def review_of(*rules: tuple[str, str]) -> Review:
    findings = [
        ReviewFinding.model_construct(rule=rule, certainty=certainty, items=("V1",), path="a.py", line=3, message="m")
        for rule, certainty in rules
    ]
    return Review.model_construct(findings=tuple(findings))


def test_only_proven_sources_of_unseeded_randomness_are_evidence() -> None:
    cause = Cause.model_validate(
        {"class": "unseeded_randomness", "title": "t", "evidence": ("e",), "ruled_out": (), "fix": "f"}
    )
    named = _with_seeds(cause, review_of(("REP113", "proven"), ("REP105", "possible")))
    assert named is not None and named.evidence == ("m (a.py:3)", "e")
    other = cause.model_copy(update={"kind": "unknown"})
    assert _with_seeds(other, review_of(("REP113", "proven"))) is other
    assert _with_seeds(None, review_of()) is None and _with_seeds(cause, None) is cause
