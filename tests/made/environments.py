"""Environments of trainings without a container, as verdicts have them."""

from harness.documents.environment import EnvironmentDifference, EnvironmentFacts


def environment_facts(difference=None, **changes):
    """A given Python, which is the locked one unless a difference says otherwise."""
    difference = difference or EnvironmentDifference()
    facts = {
        "kind": "given",
        "lock": "cpu.lock",
        "python": "3.11.7",
        "implementation": "CPython",
        "platform": "linux-x86_64",
        "num_packages": 1,
        "is_locked": difference.is_empty,
        "counts": difference.counts(),
        "difference": difference,
    }
    return EnvironmentFacts(**{**facts, **changes})
