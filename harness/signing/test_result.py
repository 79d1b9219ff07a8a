"""The verdict as an in-toto Test Result, for policies that know nothing of this program.

Only CERTIFIED is a pass. INCONCLUSIVE and VETOED are FAILED here: a policy that asks whether the tests passed must not
be told that they did. Items of the review that gave a warning or could not be told are `warnedTests`, and the result
is then WARNED.

Source: https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from harness.documents.certificate import Closed, EvidenceFile
from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.signing.provenance import ResourceDescriptor

PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
_REVIEW = {"holds": "passed", "warning": "warned", "could not tell": "warned", "vetoed": "failed"}


class Outcome(Closed):
    """The predicate."""

    result: Literal["PASSED", "WARNED", "FAILED"]
    configuration: tuple[ResourceDescriptor, ...]
    passed_tests: tuple[str, ...]
    warned_tests: tuple[str, ...]
    failed_tests: tuple[str, ...]


def outcome(verdict: Verdict, manifest: Manifest, evidence: tuple[EvidenceFile, ...]) -> Outcome:
    """The predicate; `evidence` is the certificate's."""
    passed, warned, failed = (
        tuple(sorted(name for name, state in _tests(verdict) if state == wanted))
        for wanted in ("passed", "warned", "failed")
    )
    digests = {"experiment": manifest.experiment_digest}
    digests |= {one.name: one.digest.sha256 for one in evidence if one.name == "config.json"}
    return Outcome(
        result="FAILED" if verdict.verdict != "CERTIFIED" else "WARNED" if warned else "PASSED",
        configuration=tuple(
            ResourceDescriptor(name=name, digest={"sha256": digest.removeprefix("sha256:")})
            for name, digest in digests.items()
        ),
        passed_tests=passed,
        warned_tests=warned,
        failed_tests=failed,
    )


def _tests(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """Every check that was asked, every control that was made and every item of the review that applies."""
    for name, check in verdict.checks.items():
        if check.verdict == "CERTIFIED":
            yield f"check/{name}", "passed"
        elif check.verdict != "NOT_CHECKED" or check.required:
            yield f"check/{name}", "failed" if check.required or check.verdict == "DIVERGED" else "warned"
    for control in verdict.control.controls:
        yield f"control/{control.name}", "passed" if control.detected else "failed"
    for row in verdict.review.checklist if verdict.review else ():
        if row.state in _REVIEW:
            yield f"review/{row.id}", _REVIEW[row.state]
