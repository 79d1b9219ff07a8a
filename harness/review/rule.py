"""For callers that have not moved to rules.py yet."""

from harness.review.rules import severities_of as with_severities

__all__ = ["with_severities"]
