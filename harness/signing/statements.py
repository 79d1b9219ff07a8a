"""The three statements that are signed for one verdict, with the same subjects.

The first is the certificate. The other two follow from it, verdict.json and manifest.json alone, so whoever verifies
builds them again and compares bytes. All are canonical JSON (RFC 8785).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import rfc8785

from harness.documents.certificate import STATEMENT_TYPE, Closed, EvidenceFile
from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.errors import TamperedError
from harness.signing import provenance
from harness.signing.certificate import parse_statement, read_certificate

TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
_REVIEW = {"holds": "passed", "warning": "warned", "could not tell": "warned", "vetoed": "failed"}


class Outcome(Closed):
    """The verdict as an in-toto Test Result, for policies that know nothing of this program.

    Only CERTIFIED is a pass. INCONCLUSIVE and VETOED are FAILED here: a policy that asks whether the tests passed must
    not be told that they did. Items of the review that gave a warning or could not be told are `warned_tests`, and the
    result is then WARNED.

    Source: https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md.
    """

    result: Literal["PASSED", "WARNED", "FAILED"]
    configuration: tuple[provenance.ResourceDescriptor, ...]
    passed_tests: tuple[str, ...]
    warned_tests: tuple[str, ...]
    failed_tests: tuple[str, ...]


def statements(certificate: bytes, verdict: Verdict, manifest: Manifest) -> tuple[bytes, ...]:
    """What is signed, in the bundle's order: the certificate as it is, SLSA provenance, in-toto Test Result.

    Raises:
        TamperedError: the certificate is none, or the manifest holds what no statement can.
    """
    evidence = read_certificate(certificate).predicate.evidence
    predicates: dict[str, Closed] = {
        provenance.PREDICATE_TYPE: provenance.provenance(verdict, manifest, evidence),
        TEST_RESULT: _outcome(verdict, manifest, evidence),
    }
    subject = parse_statement(certificate)["subject"]
    try:
        return (certificate, *(_render(subject, kind, predicate) for kind, predicate in predicates.items()))
    except ValueError as error:
        raise TamperedError(f"the manifest holds what no statement can: {str(error)[:200]}", "certify again") from error


def _render(subject: Any, predicate_type: str, predicate: Closed) -> bytes:
    value = predicate.model_dump(mode="json", exclude_none=True)
    return rfc8785.dumps(
        {"_type": STATEMENT_TYPE, "subject": subject, "predicateType": predicate_type, "predicate": value}
    )


def _outcome(verdict: Verdict, manifest: Manifest, evidence: tuple[EvidenceFile, ...]) -> Outcome:
    passed, warned, failed = (
        tuple(sorted(name for name, state in _tests(verdict) if state == wanted))
        for wanted in ("passed", "warned", "failed")
    )
    digests = {"experiment": manifest.experiment_digest}
    digests |= {one.name: one.digest.sha256 for one in evidence if one.name == "config.json"}
    return Outcome(
        result="FAILED" if verdict.verdict != "CERTIFIED" else "WARNED" if warned else "PASSED",
        configuration=tuple(
            provenance.ResourceDescriptor(name=name, digest={"sha256": digest.removeprefix("sha256:")})
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
    for control in (one for one in verdict.control.controls if one.made):
        yield f"control/{control.name}", "passed" if control.detected else "failed"
    for row in verdict.review.checklist if verdict.review else ():
        if row.state in _REVIEW:
            yield f"review/{row.id}", _REVIEW[row.state]
