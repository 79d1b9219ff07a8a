"""Verify, readable from top to bottom; every stage believes nothing that an earlier one did not show.

    form -> signatures -> certificate -> list of evidence -> records -> code -> evidence -> judged again -> reports

No engine, no GPU, no network and no torch is needed, and nothing of what is verified is run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import harness
from harness.documents.document import REMEDY, read_json
from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.errors import INSTALL, EvidenceError, TamperedError
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.recorded import Record, read_record, read_verdict
from harness.runs.load_evidence import load_trajectory
from harness.signing.certificate import read_certificate
from harness.system.store import Progress, Store, tree_digest
from harness.verify import code as exported
from harness.verify import judge_again, written_again
from harness.verify.material import CERTIFICATE, Material, open_material
from harness.verify.rejudge import contradiction_in
from harness.verify.signatures import check_signatures
from harness.verify.verification import Kind, Level, Recomputed, Signer, Verification, never_checked

Rendered = Mapping[str, bytes]
Render = Callable[[dict[str, Any], dict[str, Any], tuple[TrajectoryEvidence, ...]], Rendered]
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
    work = _Work(path=path, root=root, store=store, progress=progress, render=render)
    try:
        with open_material(path, progress) as material:
            return work.go(material)
    except (TamperedError, EvidenceError) as error:
        return work.tampered(error)


@functools.cache
def own_sources() -> str:
    """The digest of this harness's own code, as manifests have it."""
    return str(tree_digest(Path(harness.__file__).resolve().parent))


@dataclass(slots=True)
class _Work:
    """One verification on its way: what was found so far."""

    path: Path
    root: Path | None
    store: Store | None
    progress: Progress
    render: Render | None
    level: Level = "certificate"
    kind: Kind = "certificate"
    signer: Signer | None = None
    claimed: str = ""
    verdict: dict[str, Any] | None = None
    manifest: dict[str, Any] | None = None
    checks: list[Recomputed] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    amounts: dict[str, int] = field(default_factory=dict)

    def go(self, material: Material) -> Verification:
        """Every stage."""
        self.level, self.kind = material.level, material.kind
        self.amounts["bytes"] = material.size_bytes
        if material.form:
            self.found("form", "every byte of the archive is where and what it must be", material.form)
        payloads = self.signatures(material)
        certificate = read_certificate(payloads[0])
        self.claimed = certificate.predicate.verdict
        if material.level != "evidence" and (against := contradiction_in(certificate.predicate)):
            raise TamperedError(f"the certificate contradicts itself: {against}", REMEDY)
        if material.level == "certificate":
            written_again.check_test_result(certificate, payloads[1:])
            text = "of the published form, about the same subjects, with the same result"
            self.found("statements", text, f"{len(payloads)} statements")
            return self.consistent()
        num = written_again.check_evidence_list(certificate, material)
        self.amounts["files"] = num
        self.found("evidence", "every file has the sha256 that the certificate lists", f"{num} files")
        self.judged(material, payloads)
        return self.consistent()

    def signatures(self, material: Material) -> tuple[bytes, ...]:
        """The statements; of a folder that nobody signed yet, the certificate alone."""
        if not material.is_signed and material.kind == "run":
            self.not_checked.append("signatures: nobody signed this folder yet, `harness archive` does")
            return (material.needed(CERTIFICATE, _MAX_CERTIFICATE_BYTES),)
        self.signer, payloads = check_signatures(material, self.root)
        written_again.check_companions(payloads)
        if material.files.exists(CERTIFICATE) and material.needed(CERTIFICATE, _MAX_CERTIFICATE_BYTES) != payloads[0]:
            raise TamperedError(f"{CERTIFICATE} is not the certificate that was signed", REMEDY)
        self.found("signatures", "ed25519, over DSSE envelopes of in-toto statements", f"{len(payloads)} statements")
        return payloads

    def judged(self, material: Material, payloads: tuple[bytes, ...]) -> None:
        """Documents, evidence, verdict."""
        manifest = read_json(material.document("manifest.json"), "manifest.json")
        verdict = read_verdict(material.document("verdict.json"), "verdict.json")
        record = read_record(manifest, verdict)
        is_same = record.sources == own_sources()
        documents = (
            Verdict.from_json(verdict, "verdict.json"),
            Manifest.from_json(manifest, "manifest.json"),
        )
        written_again.check_statements(payloads, *documents, is_same=is_same)
        self.found("certificate", "it and its two companions follow from verdict.json and manifest.json")
        num = judge_again.check_records(manifest, material.files)
        total = sum(len(runs) for runs in record.records.values())
        self.found("records", "what the host saw of each run is what the manifest says", f"{num} of {total} runs")
        if material.level == "manifest":
            self.straight(record, manifest, material)
        else:
            self.all_evidence(record, manifest, verdict, material, is_same=is_same)
        self.verdict, self.manifest = verdict, manifest

    def straight(self, record: Record, manifest: dict[str, Any], material: Material) -> None:
        """What a published folder has of the evidence."""
        if "straight" not in record.records:
            return
        evidence = load_trajectory(material.files.below("straight"), "straight", record.records["straight"], ())
        steps = written_again.check_straight_ledger(manifest, record.controls, evidence)
        self.found("ledger", "the straight run's hash chain, and its head in the manifest", f"{steps} steps")

    def all_evidence(
        self,
        record: Record,
        manifest: dict[str, Any],
        verdict: dict[str, Any],
        material: Material,
        *,
        is_same: bool,
    ) -> None:
        """The code, then everything that the runs left, then the verdict."""
        self.progress("the code: its digest, experiment and locks")
        code = exported.read_exported(material)
        num = exported.check_code(record, code, material.needed("config.json", _MAX_CONFIG_BYTES))
        self.found("code", "its digest; experiment, configuration and locks in it", f"{num} locks")
        self.progress("the evidence: ledgers, checkpoints, outputs")
        evidence = judge_again.read_evidence(record, material.files)
        found = evidence.trajectories
        written_again.check_manifest(record, manifest, verdict, found, is_same=is_same)
        self.found("ledgers", "every hash chain, and its head in the manifest", f"{evidence.num_steps} steps")
        judge_again.check_copy(material.digests)
        num = judge_again.check_sidecars(evidence)
        self.found("tensors", "the digests beside the ledgers hash to the ledgers' roots", f"{num} lines")
        num = sum(len(one.files) for one in found.values())
        self.found("contents", "of every declared file, and its digest in the manifest", f"{num} files")
        self.judge(record, evidence, verdict, material, code, is_same=is_same)
        if is_same:
            self.written_again(verdict, manifest, tuple(found.values()), material, code)
        else:
            self.not_checked.append("the reports and the research crate: another version of the harness wrote them")
        if material.files.exists("sbom.cdx.json"):
            self.not_checked.append("the bill of materials: it takes licences from the wheels, which are not read")

    def written_again(
        self,
        verdict: dict[str, Any],
        manifest: dict[str, Any],
        evidence: tuple[TrajectoryEvidence, ...],
        material: Material,
        code: exported.Code,
    ) -> None:
        """The crate and the reports, as far as what writes them is installed."""
        try:
            documents = Verdict.from_json(verdict, "verdict.json"), Manifest.from_json(manifest, "manifest.json")
            written_again.check_crate(*documents, material, code.files)
            self.found("crate", "ro-crate-metadata.json, written again, byte for byte")
        except ModuleNotFoundError as error:
            self.not_checked.append(f"the research crate: {error.name} is not installed ({INSTALL})")
        if self.render is None:
            self.not_checked.append("the reports: nobody asked for them here")
            return
        try:
            num = written_again.check_rendered(self.render(verdict, manifest, evidence), material)
            self.found("reports", "rendered again, byte for byte", f"{num} documents")
        except ModuleNotFoundError as error:
            self.not_checked.append(f"the reports: {error.name} is not installed ({INSTALL})")

    def judge(
        self,
        record: Record,
        evidence: judge_again.Evidence,
        verdict: dict[str, Any],
        material: Material,
        code: exported.Code,
        *,
        is_same: bool,
    ) -> None:
        """The verdict, from the evidence alone."""
        if record.kind == "replay":
            self.replayed(record, evidence, verdict, material, is_same=is_same)
            return
        basis = None
        if is_same and verdict.get("review") is not None:
            self.progress("the review: the code is read again")
            basis = exported.review_again(record, code, self.store)
            if "straight" in record.records:
                basis = exported.with_files(basis, material.files)
            self.found("review", "the code was reviewed again", f"{basis.static.num_files} files")
        elif verdict.get("review") is not None:
            self.not_checked.append("the review of the code: another version's rules made it; it is taken as it is")
        self.progress("the verdict: judged again")
        judge_again.check_verdict(record, evidence, verdict, basis, is_same=is_same)
        again = [check.name for check in evidence.controls if check.name not in evidence.testimony]
        if again:
            self.found("controls", "comparisons that must fail, made again", ", ".join(again))
        if evidence.testimony:
            names = ", ".join(evidence.testimony)
            self.not_checked.append(f"the controls {names}: an earlier certify of the same code ran them")
        compared = verdict["compared"]
        self.amounts |= {f"compared_{key}": compared[key] for key in ("steps", "tensors", "bytes")}
        what = "word for word" if is_same else "every decision; the words are another version's"
        amount = f"{compared['steps']} steps, {compared['tensors']} tensors, {compared['bytes']} bytes"
        self.found("verdict", f"judged again from the evidence: {what}", amount)

    def replayed(
        self,
        record: Record,
        evidence: judge_again.Evidence,
        verdict: dict[str, Any],
        material: Material,
        *,
        is_same: bool,
    ) -> None:
        """A replay's verdict, from its training and from what its record published."""
        from harness.verify.replayed import check_replay

        manifest = read_json(material.document("manifest.json"), "manifest.json")
        undecided = check_replay(record, manifest, verdict, evidence, material, is_same=is_same)
        if undecided:
            self.not_checked.append(undecided)
            return
        steps = verdict["compared"]["steps"]
        self.found("verdict", "held against the record's ledger again: every decision", f"{steps} steps")
        self.not_checked.append("single tensors of the record, and the words: its archive has more than its manifest")

    def found(self, name: str, text: str, amount: str = "") -> None:
        """Something fits."""
        self.checks.append(Recomputed(name=name, text=text, amount=amount))

    def consistent(self) -> Verification:
        """The end of a verification in which everything fitted."""
        return Verification(
            word="CONSISTENT",
            path=str(self.path),
            level=self.level,
            kind=self.kind,
            signer=self.signer,
            verdict=self.verdict,
            manifest=self.manifest,
            claimed=self.claimed,
            checks=tuple(self.checks),
            not_checked=(*self.not_checked, *never_checked(self.level)),
            amounts=self.amounts,
        )

    def tampered(self, error: TamperedError | EvidenceError) -> Verification:
        """The end of one in which something did not."""
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
