"""The documents: certificate, its companions, manifest and reports are written again and held against what is here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.archive.crate import CRATE, described_files, render_crate
from harness.documents.certificate import Certificate
from harness.documents.digest import Digest
from harness.documents.document import REMEDY
from harness.documents.manifest import Manifest
from harness.documents.verdict import ControlResult, Verdict
from harness.errors import TamperedError, UsageError
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.controls import check_ledger_digit, check_weights_moved
from harness.judge.manifest import Materials, build_manifest
from harness.judge.recorded import Record
from harness.signing import provenance, test_result, version1
from harness.signing.certificate import build_certificate, parse_statement, read_certificate, rfc3339
from harness.signing.statements import statements
from harness.system.files import Files
from harness.verify.material import Material
from harness.verify.rejudge import first_difference

_COMPANIONS = ("the provenance", "the test result")
_MAX_REPORT_BYTES = 64 << 20
_NEEDED = ("manifest.json", "verdict.json")


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


def check_statements(payloads: tuple[bytes, ...], verdict: Verdict, manifest: Manifest, *, is_same: bool) -> None:
    """Write the certificate and its two companions again.

    Args:
        payloads: what was signed, or the certificate alone where nobody signed yet.
        verdict: `verdict.json`.
        manifest: `manifest.json`.
        is_same: whether this harness wrote them: then every byte must be the same.

    Raises:
        TamperedError: one does not follow from the documents.
    """
    certificate = read_certificate(payloads[0])
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
    if [one["predicateType"] for one in parsed] != [provenance.PREDICATE_TYPE, test_result.PREDICATE_TYPE]:
        raise _tampered("what is signed beside the certificate is not its provenance and its test result")
    verdict, predicate = certificate.predicate.verdict, parsed[1]["predicate"]
    result = predicate.get("result") if isinstance(predicate, dict) else None
    if result not in (("PASSED", "WARNED") if verdict == "CERTIFIED" else ("FAILED",)):
        raise _tampered(f"the certificate says {verdict}, and the test result {str(result)[:40]!a}")


def _companion(payload: bytes) -> dict[str, Any]:
    """A companion; beside a certificate of version 1 the test result speaks of oracles."""
    statement = parse_statement(payload)
    predicate = statement["predicate"]
    if statement["predicateType"] == test_result.PREDICATE_TYPE and isinstance(predicate, dict):
        statement["predicate"] = version1.upgraded_tests(predicate)
    return statement


def manifest_again(
    record: Record, manifest: Mapping[str, Any], verdict: Mapping[str, Any], evidence: Mapping[str, TrajectoryEvidence]
) -> dict[str, Any]:
    """The manifest, written again from the evidence and from what only it can say.

    Raises:
        TamperedError: something that it needs is not there.
    """
    try:
        volatile = {key: value for key, value in manifest["volatile"].items() if key not in ("run_id", "runs")}
        return build_manifest(
            name=record.name,
            run_id=record.run_id,
            runner=record.runner,
            version=record.version,
            experiment=record.experiment,
            materials=_materials(record, manifest),
            trajectories=tuple(evidence.values()),
            volatile=volatile,
            scope=record.scope,
            sources=Digest.parse(record.sources) if record.sources else None,
            review=verdict["review"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _tampered(f"manifest.json cannot be written again: {type(error).__name__}: {error}") from error


def check_manifest(
    record: Record,
    manifest: Mapping[str, Any],
    verdict: Mapping[str, Any],
    evidence: Mapping[str, TrajectoryEvidence],
    *,
    is_same: bool,
) -> None:
    """Hold the manifest against the one that the evidence gives.

    Raises:
        TamperedError: it does not follow from the evidence.
    """
    found = manifest_again(record, manifest, verdict, evidence)
    different = _of_trajectories(found["trajectories"], manifest["trajectories"])
    if not different and is_same:
        different = first_difference(found, manifest, only_common=False)
    if different:
        raise _tampered(f"manifest.json does not follow from the evidence: {different}")


def check_straight_ledger(
    manifest: Mapping[str, Any], controls: tuple[ControlResult, ...], straight: TrajectoryEvidence
) -> int:
    """Hold the one ledger of a published folder against the manifest, and against the controls that need no more.

    Returns:
        Its number of steps.

    Raises:
        TamperedError: it is another one, its chain is broken, or a control comes out otherwise.
    """
    run = straight.runs[0] if straight.runs else None
    if run is None or run.ledger is None:
        raise _tampered(f"the straight ledger cannot be read: {run.problem if run else 'there was no run'}")
    told = manifest["trajectories"]["straight"].get("ledgers")
    if told != [str(run.ledger.head)]:
        raise _tampered("the straight ledger is not the one that manifest.json names")
    known = {check.name: check.detected for check in controls}
    for check in (check_ledger_digit(straight), check_weights_moved(straight)):
        if known.get(check.name, check.detected) != check.detected:
            raise _tampered(f"verdict.json: the control {check.name} comes out otherwise: {check.detail}")
    return len(run.ledger.steps)


def check_crate(verdict: Verdict, manifest: Manifest, material: Material, code: Files) -> None:
    """Write the research crate again.

    Raises:
        TamperedError: it is another, or is missing.
    """
    digests = {name: str(material.digests[name]) for name in described_files(manifest) if name in material.digests}
    try:
        ours = render_crate(verdict, manifest, digests, code).encode()
    except (TypeError, ValueError) as error:
        raise _tampered(f"{CRATE} cannot be written again: {error}") from error
    if material.needed(CRATE, _MAX_REPORT_BYTES) != ours:
        raise _tampered(f"{CRATE} is not what this harness writes of this run")


def check_rendered(rendered: Mapping[str, bytes], material: Material) -> int:
    """Hold the reports against those that were written again; returns how many there are.

    Raises:
        TamperedError: one is another, or is missing.
    """
    for name, ours in rendered.items():
        if material.needed(name, _MAX_REPORT_BYTES) != ours:
            raise _tampered(f"{name} is not what this harness renders of this verdict")
    return len(rendered)


def _materials(record: Record, manifest: Mapping[str, Any]) -> Materials:
    environment = manifest["environment"]
    return Materials(
        commit=record.commit,
        is_dirty=record.dirty,
        code=record.code,
        recorder=Digest.parse(record.recorder),
        image=manifest["image"],
        prepared=manifest["prepared"],
        host=environment["host"],
        gpu=environment["gpu"],
        interpreter=environment.get("interpreter"),
    )


def _of_trajectories(found: Mapping[str, Any], told: Mapping[str, Any]) -> str | None:
    """Where trajectories differ: none, no file and no ledger may be missing, whichever version wrote this."""
    for name, ours in found.items():
        theirs = told[name]
        at = f"trajectories.{name}"
        if different := first_difference(ours["ledgers"], theirs.get("ledgers"), only_common=False, path=at):
            return different
        files = theirs.get("files")
        if not isinstance(files, Mapping) or files.keys() != ours["files"].keys():
            return f"{at}.files names other files than the evidence holds"
        if different := first_difference(ours["files"], files, only_common=True, path=f"{at}.files"):
            return different
    return None


def _tampered(problem: str) -> TamperedError:
    return TamperedError(problem, REMEDY)
