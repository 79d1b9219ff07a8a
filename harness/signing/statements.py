"""The three statements that are signed for one verdict, with the same subjects.

The first is the certificate. The other two follow from it, verdict.json and manifest.json alone, so whoever verifies
builds them again and compares bytes. All are canonical JSON (RFC 8785).

Source: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import rfc8785

from harness.errors import EvidenceError, TamperedError
from harness.signing import provenance, test_result
from harness.signing.certificate import STATEMENT_TYPE

MAX_STATEMENT_BYTES = 64 << 20
_REMEDY = "verify what `harness archive` or `harness certify` wrote, unchanged"


def statements(certificate: bytes, verdict: Mapping[str, Any], manifest: Mapping[str, Any]) -> tuple[bytes, ...]:
    """What is signed, in the bundle's order: the certificate, SLSA provenance, in-toto Test Result.

    Args:
        certificate: `certificate.json`; it is returned as it is.
        verdict: `verdict.json`.
        manifest: `manifest.json`.

    Raises:
        TamperedError: the certificate is no statement in canonical form.
        EvidenceError: a document does not have the form that this program writes.
    """
    statement = parse_statement(certificate)
    try:
        evidence = statement["predicate"]["evidence"]
        predicates = (
            (provenance.PREDICATE_TYPE, provenance.provenance(verdict, manifest, evidence)),
            (test_result.PREDICATE_TYPE, test_result.outcome(verdict, manifest, evidence)),
        )
        rest = tuple(_render(statement["subject"], kind, predicate) for kind, predicate in predicates)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        problem = f"verdict, manifest and certificate do not have the form of a run ({type(error).__name__}: {error})"
        raise EvidenceError(problem, _REMEDY) from error
    return (certificate, *rest)


def parse_statement(data: bytes) -> dict[str, Any]:
    """Read a statement; it must be the one canonical spelling of an object with in-toto's four keys.

    Raises:
        TamperedError: it is not.
    """
    if len(data) > MAX_STATEMENT_BYTES:
        raise TamperedError(f"a statement has {len(data)} bytes, at most {MAX_STATEMENT_BYTES} are read", _REMEDY)
    try:
        value = json.loads(bytes(data).decode("utf-8"))
        is_canonical = rfc8785.dumps(value) == data
    except (ValueError, RecursionError) as error:
        raise TamperedError(f"a statement is no JSON that RFC 8785 knows: {_short(error)}", _REMEDY) from error
    if not is_canonical:
        raise TamperedError("a statement is not in its canonical form (RFC 8785)", _REMEDY)
    if not isinstance(value, dict) or value.keys() != {"_type", "subject", "predicateType", "predicate"}:
        raise TamperedError("a statement does not have the keys of an in-toto statement", _REMEDY)
    if value["_type"] != STATEMENT_TYPE:
        raise TamperedError(f"a statement's _type is not {STATEMENT_TYPE}", _REMEDY)
    return value


def _render(subject: Any, predicate_type: str, predicate: dict[str, Any]) -> bytes:
    statement: dict[str, Any] = {
        "_type": STATEMENT_TYPE,
        "subject": subject,
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    return rfc8785.dumps(statement)


def _short(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
