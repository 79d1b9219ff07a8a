"""The signed statements: whose key signed them, and that they fit each other, the documents and the evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.documents.certificate import Certificate, Predicate
from harness.documents.document import REMEDY
from harness.documents.verdict import NOTHING_COMPARED, has_compared_steps
from harness.errors import TamperedError, UsageError
from harness.signing import provenance, version1
from harness.signing.bundle import parse_bundle
from harness.signing.certificate import build_certificate, parse_statement, read_certificate, rfc3339
from harness.signing.known_keys import find_key
from harness.signing.public_key import KEY_FILE, PublicKey, verify_bundle
from harness.signing.statements import TEST_RESULT, statements
from harness.verify.comparison import first_difference
from harness.verify.material import Material
from harness.verify.record import Record
from harness.verify.verification import Signer

_COMPANIONS = ("the provenance", "the test result")
_NEEDED = ("manifest.json", "verdict.json")


def check_signatures(material: Material, root: Path | None) -> tuple[Signer, tuple[bytes, ...]]:
    """Who signed, and the statements.

    Args:
        material: with a bundle.
        root: the checkout, whose manifests/keys may name the key.

    Raises:
        TamperedError: a signature does not fit, or the key is none.
        UsageError: the key is neither beside the bundle nor known here.
    """
    bundle, beside = material.bundle(), material.key()
    if beside is not None:
        key = PublicKey.parse(beside)
    elif material.kind == "archive":
        raise _tampered(f"{KEY_FILE} is missing: an archive has the public key that it is signed with")
    else:
        key_id = parse_bundle(bundle)[0].key_id
        if (found := find_key(key_id, root)) is None:
            problem = f"the public key {key_id} is neither beside the certificate nor known here"
            raise UsageError(problem, "put its key.json beside it, or keep it: harness key trust FILE --name NAME")
        key = found.key
    payloads, known = verify_bundle(bundle, key), find_key(key.key_id, root)
    return Signer(key_id=key.key_id, name=None if known is None else str(known)), payloads


def check_evidence_list(certificate: Certificate, material: Material) -> int:
    """Compare the digests of the evidence with those that the certificate lists.

    Returns:
        How many files of evidence are here.

    Raises:
        TamperedError: a file is missing, there is one too many, or one is not what it was.
        UsageError: an early version of this program wrote the folder, and listed nothing of the runs.
    """
    told = {one.name: one.digest.sha256 for one in certificate.predicate.evidence}
    names = [one.name for one in certificate.predicate.evidence]
    if names != sorted(told):
        raise _tampered("the certificate's list of evidence is not sorted, or names a file twice")
    if names == [*_NEEDED] and not material.is_signed:  # all that early versions listed
        problem = "the certificate lists no evidence: an early version of this program wrote it, and nobody signed it"
        raise UsageError(problem, "certify again, at its commit if it must be that one: `harness certify`")
    for name, digest in material.digests.items():
        if name not in told:
            raise _tampered(f"{name} is not in the certificate's list of evidence")
        if told[name] != digest.hex:
            raise _tampered(f"{name} is not what the certificate lists: its sha256 is {digest.hex}, not {told[name]}")
    wanted = told if material.level == "evidence" else _NEEDED
    if missing := [name for name in wanted if name not in material.digests]:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise _tampered(f"{missing[0]} is missing, which the certificate lists{more}")
    return len(material.digests)


def check_statements(payloads: tuple[bytes, ...], record: Record, *, is_same: bool) -> None:
    """Write the certificate and its two companions again.

    Args:
        payloads: what was signed, or the certificate alone where nobody signed yet.
        record: verdict and manifest.
        is_same: whether this harness wrote them: then every byte must be the same.

    Raises:
        TamperedError: one does not follow from the documents.
    """
    certificate, verdict, manifest = read_certificate(payloads[0]), record.verdict, record.manifest
    if certificate.predicate.finished_on != rfc3339(manifest.volatile.finished):
        raise _tampered("certificate and manifest.json disagree about when it was finished")
    digests = {one.name: f"sha256:{one.digest.sha256}" for one in certificate.predicate.evidence}
    again = read_certificate(build_certificate(verdict, manifest, digests))
    different = first_difference(again.to_json(), certificate.to_json(), only_common=False)
    if different:
        raise _tampered(f"the certificate does not follow from verdict.json and manifest.json: {different}")
    for name, ours, theirs in zip(
        _COMPANIONS, statements(payloads[0], verdict, manifest)[1:], payloads[1:], strict=False
    ):
        if ours == theirs:
            continue
        different = first_difference(_companion(ours), _companion(theirs), only_common=not is_same)
        if is_same or different:
            raise _tampered(f"{name} does not follow from verdict.json and manifest.json: {different}")


def check_companions(payloads: tuple[bytes, ...]) -> None:
    """Check that three statements are signed, about the same subjects.

    Raises:
        TamperedError: there are more or fewer, or they speak of other subjects.
    """
    if len(payloads) != 1 + len(_COMPANIONS):
        forms = ", ".join(("the certificate", *_COMPANIONS))
        raise _tampered(f"{len(payloads)} statements are signed, it takes {1 + len(_COMPANIONS)}: {forms}")
    parsed = [parse_statement(payload) for payload in payloads]
    if any(one["subject"] != parsed[0]["subject"] for one in parsed):
        raise _tampered("the signed statements do not have the same subjects")
    kinds = [one["predicateType"] for one in parsed]
    if len(set(map(str, kinds))) != len(kinds):
        raise _tampered("two of the signed statements are of the same kind")


def check_test_result(certificate: Certificate, companions: tuple[bytes, ...]) -> None:
    """Check the companions of a certificate whose documents are not here: their kinds, and PASSED or FAILED.

    Raises:
        TamperedError: a policy that reads one of them would be told something else than the certificate says.
    """
    parsed = [parse_statement(payload) for payload in companions]
    if [one["predicateType"] for one in parsed] != [provenance.PREDICATE_TYPE, TEST_RESULT]:
        raise _tampered("what is signed beside the certificate is not its provenance and its test result")
    verdict, predicate = certificate.predicate.verdict, parsed[1]["predicate"]
    result = predicate.get("result") if isinstance(predicate, dict) else None
    if result not in (("PASSED", "WARNED") if verdict == "CERTIFIED" else ("FAILED",)):
        raise _tampered(f"the certificate says {verdict}, and the test result {str(result)[:40]!a}")


def bounds_of(predicate: Predicate) -> tuple[str, ...]:
    """What the verdict is said of, where that is less than the whole training of a commit."""
    scope = predicate.scope
    return (
        *((f"of the first {scope.steps} of {scope.of} steps",) if scope else ()),
        *(f"with {text}" for text in predicate.overrides),
        *(("of uncommitted code",) if predicate.dirty else ()),
    )


def contradiction_in(predicate: Predicate) -> str | None:
    """What a certificate says against its own word; None for nothing. It is all that can be judged without evidence."""
    word = predicate.verdict
    if word != "CERTIFIED":
        return None
    checklist = predicate.review.checklist if predicate.review else {}
    against = [
        *(f"check {name}" for name, check in predicate.checks.items() if check.required and check.verdict != word),
        *(f"control {control.name}" for control in predicate.controls if not control.detected),
        *(f"review {item}" for item, state in checklist.items() if state == "vetoed"),
        *(f"problem: {text[:80]}" for text in predicate.problems),
    ]
    compared = {name: (check.verdict, check.compared.steps) for name, check in predicate.checks.items()}
    if not has_compared_steps(compared):
        against.append(f"its checks: {NOTHING_COMPARED}")
    return f"it says {word}, and otherwise of {against[0]}" if against else None


def _companion(payload: bytes) -> dict[str, Any]:
    """A companion; beside a certificate of version 1 the test result speaks of oracles."""
    statement = parse_statement(payload)
    predicate = statement["predicate"]
    if statement["predicateType"] == TEST_RESULT and isinstance(predicate, dict):
        statement["predicate"] = version1.upgraded_tests(predicate)
    return statement


def _tampered(problem: str) -> TamperedError:
    return TamperedError(problem, REMEDY)
