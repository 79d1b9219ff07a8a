"""The three statements that are signed for one verdict, with the same subjects.

The first is the certificate. The other two follow from it, verdict.json and manifest.json alone, so whoever verifies
builds them again and compares bytes. All are canonical JSON (RFC 8785).
"""

from __future__ import annotations

from typing import Any

import rfc8785

from harness.documents.certificate import STATEMENT_TYPE, Closed
from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.errors import TamperedError
from harness.signing import provenance, test_result
from harness.signing.certificate import parse_statement, read_certificate


def statements(certificate: bytes, verdict: Verdict, manifest: Manifest) -> tuple[bytes, ...]:
    """What is signed, in the bundle's order: the certificate as it is, SLSA provenance, in-toto Test Result.

    Raises:
        TamperedError: the certificate is none, or the manifest holds what no statement can.
    """
    evidence = read_certificate(certificate).predicate.evidence
    predicates: dict[str, Closed] = {
        provenance.PREDICATE_TYPE: provenance.provenance(verdict, manifest, evidence),
        test_result.PREDICATE_TYPE: test_result.outcome(verdict, manifest, evidence),
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
