"""Verify, stage by stage; no stage trusts what an earlier one has not checked.

    form -> signatures -> certificate -> list of evidence -> records -> code -> evidence -> judged again -> reports

No engine, no GPU, no network and no torch is needed, and nothing of what is verified is run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.documents.document import REMEDY
from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.errors import INSTALL, EvidenceError, TamperedError
from harness.evidence.trajectory import TrajectoryEvidence
from harness.review.evidence.basis import Basis
from harness.signing.certificate import read_certificate
from harness.system.sources import sources_digest
from harness.system.store import Progress, Store
from harness.verify import code as exported
from harness.verify import evidence, judge_again, statements, written_again
from harness.verify.material import CERTIFICATE, Material, kind_of, open_material
from harness.verify.record import Record, read_record
from harness.verify.replayed import read_replayed
from harness.verify.verification import LEVELS, Kind, Level, Recomputed, Signer, Verification, never_checked

Rendered = Mapping[str, bytes]
Render = Callable[[Verdict, Manifest, tuple[TrajectoryEvidence, ...]], Rendered]
_MAX_CONFIG_BYTES = 64 << 20
_MAX_CERTIFICATE_BYTES = 64 << 20


def verify(
    path: Path, root: Path | None, store: Store | None, progress: Progress, render: Render | None = None
) -> Verification:
    """Recompute everything that can be recomputed from what lies at a path.

    Args:
        path: an archive, a run's folder, a published folder, or a `certificate.intoto.jsonl`.
        root: the checkout, whose manifests/keys may name the key that signed.
        store: where the review of code that was reviewed before is kept; None for none.
        progress: told what is done.
        render: writes the reports again; None leaves them out.

    Returns:
        CONSISTENT, or TAMPERED with what does not fit.

    Raises:
        UsageError: there is nothing that could be verified.
    """
    work = _Work(path=path, kind=kind_of(path), root=root, store=store, progress=progress, render=render)
    try:
        with open_material(path, work.kind, progress) as material:
            return work.go(material)
    except (TamperedError, EvidenceError) as error:
        return work.tampered(error)


@dataclass(slots=True)
class _Work:
    """One verification on its way: what was found so far."""

    path: Path
    kind: Kind
    root: Path | None
    store: Store | None
    progress: Progress
    render: Render | None
    signer: Signer | None = None
    claimed: str = ""
    bounds: tuple[str, ...] = ()
    record: Record | None = None
    checks: list[Recomputed] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    amounts: dict[str, int] = field(default_factory=dict)
    is_other_version: bool = False

    @property
    def level(self) -> Level:
        """How far the material reaches."""
        return LEVELS[self.kind]

    def go(self, material: Material) -> Verification:
        """Every stage."""
        self.amounts["bytes"] = material.size_bytes
        if material.form:
            self.found("form", "the archive has its canonical form, byte by byte", material.form)
        payloads = self.signatures(material)
        certificate = read_certificate(payloads[0])
        self.claimed, self.bounds = certificate.predicate.verdict, statements.bounds_of(certificate.predicate)
        if material.level != "evidence" and (against := statements.contradiction_in(certificate.predicate)):
            raise TamperedError(f"the certificate contradicts itself: {against}", REMEDY)
        if material.level == "certificate":
            statements.check_test_result(certificate, payloads[1:])
            text = "they fit their schema and agree about subjects and result"
            self.found("statements", text, f"{len(payloads)} statements")
            return self.consistent()
        num = statements.check_evidence_list(certificate, material)
        self.amounts["files"] = num
        self.found("evidence", "every file has the sha256 that the certificate lists", f"{num} files")
        self.judged(material, payloads)
        return self.consistent()

    def signatures(self, material: Material) -> tuple[bytes, ...]:
        """The statements; of a folder that nobody signed yet, the certificate alone."""
        if not material.is_signed and material.kind == "run":
            self.not_checked.append("signatures: this folder is not signed (`harness archive` signs)")
            return (material.needed(CERTIFICATE, _MAX_CERTIFICATE_BYTES),)
        self.signer, payloads = statements.check_signatures(material, self.root)
        statements.check_companions(payloads)
        has_own = material.kind != "certificate" and material.files.exists(CERTIFICATE)
        if has_own and material.needed(CERTIFICATE, _MAX_CERTIFICATE_BYTES) != payloads[0]:
            raise TamperedError(f"{CERTIFICATE} is not the certificate that was signed", REMEDY)
        self.found(
            "signatures", "valid ed25519 signatures over in-toto statements (DSSE)", f"{len(payloads)} statements"
        )
        return payloads

    def judged(self, material: Material, payloads: tuple[bytes, ...]) -> None:
        """Documents, evidence, verdict."""
        documents = material.document("manifest.json"), material.document("verdict.json")
        record = read_record(*documents)
        is_same = record.manifest.harness.sources == str(sources_digest())
        statements.check_statements(payloads, record, is_same=is_same)
        self.found("certificate", "certificate, provenance and test result follow from verdict.json and manifest.json")
        num = evidence.check_run_files(record, material.files)
        total = sum(len(runs) for runs in record.runs.values())
        self.found(
            "records", "run-*.json, what the host saw of each run, matches the manifest", f"{num} of {total} runs"
        )
        if material.level == "evidence":
            self.all_evidence(record, documents, material, is_same=is_same)
        elif "straight" in record.runs:
            _, steps = evidence.read_straight(record, material.files)
            self.found("ledger", "the straight run's hash chain is intact and matches the manifest", f"{steps} steps")
        self.record = record

    def all_evidence(
        self, record: Record, documents: tuple[bytes, bytes], material: Material, *, is_same: bool
    ) -> None:
        """The code, then everything that the runs left, then the verdict."""
        self.is_other_version = not is_same
        self.progress("the code: its digest, experiment and locks")
        code = exported.read_exported(material)
        num = exported.check_code(record, code, material.needed("config.json", _MAX_CONFIG_BYTES))
        self.found("code", "digest, experiment, configuration and locks match the manifest", f"{num} locks")
        self.progress("the evidence: ledgers, checkpoints, outputs")
        left = evidence.read_evidence(record, material.files)
        found = left.trajectories
        written_again.check_manifest(record, found, documents[0], is_same=is_same)
        self.found("ledgers", "every hash chain is intact and matches the manifest", f"{left.num_steps} steps")
        evidence.check_copy(material.digests)
        num = evidence.check_sidecars(left)
        self.found("tensors", "digests of single tensors hash to the roots in the ledgers", f"{num} lines")
        num = sum(len(one.files) for one in found.values())
        self.found("contents", "every declared file has the content that the manifest lists", f"{num} files")
        if record.verdict.kind == "replay":
            self.replayed(record, left, material, is_same=is_same)
        else:
            basis = self.reviewed(record, code, material, is_same=is_same)
            self.progress("the verdict: judged again")
            again = judge_again.check_verdict(record, left, basis, documents[1], is_same=is_same)
            self.not_checked += [] if is_same else again.not_checked
            self.judged_again(record, left, is_same=is_same)
        if is_same:
            self.written_again(record, left, material, code)
        else:
            self.not_checked.append(
                "the words of verdict.json, the reports and the crate: another version of the harness wrote them"
            )
        if material.files.exists("sbom.cdx.json"):
            self.not_checked.append(
                "the bill of materials (sbom.cdx.json): its licences come from the wheels, which are not read"
            )

    def written_again(
        self,
        record: Record,
        left: evidence.Evidence,
        material: Material,
        code: exported.Code,
    ) -> None:
        """The crate and the reports, as far as what writes them is installed."""
        try:
            written_again.check_crate(record, material, code.files)
            self.found("crate", "ro-crate-metadata.json is the same when it is written again")
        except ModuleNotFoundError as error:
            self.not_checked.append(f"the research crate: {error.name} is not installed ({INSTALL})")
        if self.render is None:
            self.not_checked.append("the reports: they were not rendered here")
            return
        try:
            rendered = self.render(record.verdict, record.manifest, tuple(left.trajectories.values()))
            num = written_again.check_rendered(rendered, material)
            self.found("reports", "the same when they are rendered again", f"{num} documents")
        except ModuleNotFoundError as error:
            self.not_checked.append(f"the reports: {error.name} is not installed ({INSTALL})")

    def reviewed(self, record: Record, code: exported.Code, material: Material, *, is_same: bool) -> Basis | None:
        """What the review stands on, read again; None where there was none, or other rules made it."""
        if record.verdict.review is None:
            return None
        if not is_same:
            self.not_checked.append(
                "the review of the code: another version of the harness made it, with its own rules"
            )
            return None
        self.progress("the review: the code is read again")
        basis = exported.review_again(record, code, self.store)
        self.found("review", "the code was reviewed again, with the same result", f"{basis.static.num_files} files")
        return exported.with_files(basis, material.files) if "straight" in record.runs else basis

    def judged_again(self, record: Record, left: evidence.Evidence, *, is_same: bool) -> None:
        """What was judged again, in words."""
        again = [control.name for control in left.controls if control.name not in left.testimony]
        if again:
            self.found("controls", "negative controls repeated: the planted difference was detected", ", ".join(again))
        if left.testimony:
            names = ", ".join(left.testimony)
            self.not_checked.append(f"the negative controls {names}: they ran in an earlier certify of the same code")
        compared = record.verdict.compared
        self.amounts |= {f"compared_{key}": getattr(compared, key) for key in ("steps", "tensors", "bytes")}
        what = "word for word" if is_same else "every decision; another version of the harness chose the words"
        amount = f"{compared.steps} steps, {compared.tensors} tensors, {compared.bytes} bytes"
        self.found("verdict", f"judged again from the evidence: {what}", amount)

    def replayed(self, record: Record, left: evidence.Evidence, material: Material, *, is_same: bool) -> None:
        """A replay's verdict, from its training and from what its record published."""
        recorded = read_replayed(material, record.verdict)
        if undecided := judge_again.check_replay(record, left, recorded, is_same=is_same):
            self.not_checked.append(undecided)
            return
        steps = record.verdict.compared.steps
        self.found("verdict", "compared with the record's ledger again: every decision is the same", f"{steps} steps")
        self.not_checked.append("single tensors of the record, and the wording: only the record's archive has them")

    def found(self, name: str, text: str, amount: str = "") -> None:
        """Note what was recomputed."""
        self.checks.append(Recomputed(name=name, text=text, amount=amount))

    def consistent(self) -> Verification:
        """The result of a verification that found no contradiction."""
        return Verification(
            word="PARTIAL" if self.is_other_version else "CONSISTENT",
            path=str(self.path),
            level=self.level,
            kind=self.kind,
            signer=self.signer,
            record=self.record,
            claimed=self.claimed,
            bounds=self.bounds,
            checks=tuple(self.checks),
            not_checked=(*self.not_checked, *never_checked(self.level)),
            amounts=self.amounts,
        )

    def tampered(self, error: TamperedError | EvidenceError) -> Verification:
        """The result of one that did."""
        return Verification(
            word="TAMPERED",
            path=str(self.path),
            level=self.level,
            kind=self.kind,
            signer=self.signer,
            claimed=self.claimed,
            checks=tuple(self.checks),
            problem=error.problem,
            remedy=error.remedy,
            amounts=self.amounts,
        )
