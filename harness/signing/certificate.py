"""The certificate: written from verdict and manifest; certificates of every version are read as the newest."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import rfc8785
from pydantic import ValidationError

from harness.documents.certificate import MAX_INTEGER, RESULTS, STATEMENT_TYPE, Certificate, Claim, Predicate
from harness.documents.manifest import Manifest
from harness.documents.verdict import CheckName, Review, Verdict
from harness.errors import TamperedError
from harness.signing import version1

SCHEMA_FILE = "docs/schemas/training-reproducibility-v2.schema.json"
MAX_STATEMENT_BYTES = 64 << 20
_REMEDY = "verify what `harness archive` or `harness certify` wrote, unchanged"
_FORM = f"the form that a certificate must have is published in {SCHEMA_FILE}"
_CLAIMS: Mapping[CheckName, tuple[Claim, Claim]] = {
    "rerun": ("BITWISE_EQUAL_RERUN", "BITWISE_EQUAL_RERUN_OF_PREFIX"),
    "resume": ("BITWISE_EQUAL_RESUME", "BITWISE_EQUAL_RESUME_OF_PREFIX"),
    "rebuild": ("IDENTICAL_IMAGE_REBUILD", "IDENTICAL_IMAGE_REBUILD"),
    "replay": ("BITWISE_EQUAL_REPLAY", "BITWISE_EQUAL_REPLAY_OF_PREFIX"),
}


def build_certificate(verdict: Verdict, manifest: Manifest, digests: Mapping[str, str]) -> bytes:
    """The statement's canonical bytes (RFC 8785).

    `digests` are those of the files of evidence by name, `sha256:<hex>`.

    Raises:
        TamperedError: verdict or manifest hold what this program does not write.
    """
    told = {name: getattr(verdict, name) for name in Predicate.model_fields if hasattr(verdict, name)}
    predicate = {
        **told,
        "result": RESULTS[verdict.verdict],
        "claims": _claims(verdict),
        "controls": tuple(control for control in verdict.control.controls if control.made),
        "review": None if verdict.review is None else _review(verdict.review),
        "image": manifest.image,
        "environment": manifest.environment,
        "evidence": [{"name": name, "digest": {"sha256": hex_of(one)}} for name, one in sorted(digests.items())],
        "finished_on": rfc3339(manifest.volatile.finished),
    }
    statement = {"subject": _subjects(verdict, manifest), "predicate": predicate}
    try:
        return _render(Certificate.model_validate(statement, strict=False))
    except ValidationError as error:
        raise TamperedError(f"verdict and manifest give no certificate: {_first(error)}", _REMEDY) from error


def read_certificate(data: bytes) -> Certificate:
    """A certificate of this version, or one of version 1 in the words of this one.

    Raises:
        TamperedError: it is no statement in canonical form, or does not fit its schema; the key is named.
    """
    statement = parse_statement(data)
    is_old = statement["predicateType"] == version1.PREDICATE_TYPE
    try:
        value = version1.upgraded(statement) if is_old else statement
        found = Certificate.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise TamperedError(f"the certificate does not fit its schema at {_first(error)}", _FORM) from error
    if not is_old and _render(found) != data:
        raise TamperedError("the certificate does not fit its schema: a key is missing or has another name", _FORM)
    return found


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
        short = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise TamperedError(f"a statement is no JSON that RFC 8785 knows: {short}", _REMEDY) from error
    if not is_canonical:
        raise TamperedError("a statement is not in its canonical form (RFC 8785)", _REMEDY)
    if not isinstance(value, dict) or value.keys() != {"_type", "subject", "predicateType", "predicate"}:
        raise TamperedError("a statement does not have the keys of an in-toto statement", _REMEDY)
    if value["_type"] != STATEMENT_TYPE:
        raise TamperedError(f"a statement's _type is not {STATEMENT_TYPE}", _REMEDY)
    return value


def hex_of(digest: str | None) -> str | None:
    """The hex digits of `sha256:<hex>`; None for None."""
    return None if digest is None else digest.removeprefix("sha256:")


def rfc3339(moment: str) -> str:
    """A moment with an offset, in UTC with `Z`, to the second.

    Raises:
        TamperedError: it is none.
    """
    try:
        return datetime.fromisoformat(moment).astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError) as error:
        raise TamperedError(f"manifest.json: {moment[:40]!a} is no time", _REMEDY) from error


def _subjects(verdict: Verdict, manifest: Manifest) -> list[dict[str, Any]]:
    """The outputs by the sha256 of their bytes and of their content, and the commit they come from."""
    straight = manifest.trajectories.get("straight")
    subjects = []
    for file in sorted(verdict.files, key=lambda file: file.path):
        recorded = straight.files.get(file.path) if straight else None
        digests = {"sha256": recorded.sha256 if recorded else None, "contentSha256": file.content}
        known = {algorithm: hex_of(digest) for algorithm, digest in digests.items() if digest}
        if file.role == "output" and known:
            subjects.append({"name": file.path, "digest": known})
    return [*subjects, {"name": f"commit of {verdict.experiment}", "digest": {"gitCommit": verdict.commit}}]


def _claims(verdict: Verdict) -> list[Claim]:
    """What was shown, in words for machines; nothing unless everything required was. A prefix has words of its own."""
    if verdict.verdict != "CERTIFIED":
        return []
    shown = {name for name, check in verdict.checks.items() if check.verdict == "CERTIFIED"}
    return [_CLAIMS[name][verdict.scope is not None] for name in _CLAIMS if name in shown]


def _review(review: Review) -> dict[str, Any]:
    """The state of every item, and every finding that a person allowed, with the reason."""
    return {
        "checklist": {row.id: row.state for row in review.checklist},
        "allowed": [{**row.to_json(), "reason": row.allowed} for row in review.allowed],
        "num_findings": len(review.findings),
        "unread": review.unread,
    }


def _first(error: ValidationError) -> str:
    """The first key that does not fit, and why."""
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])[:200]}: {first['msg'][:300]}"


def _render(found: Certificate) -> bytes:
    return rfc8785.dumps(_plain(found.to_json()))


def _plain(value: Any) -> Any:
    """A value that RFC 8785 can hold: integers beyond 53 bits and numbers that JSON has not as text."""
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(value, str) else value
