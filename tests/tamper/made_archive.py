"""Archives to attack: an honest one, and what somebody can make of it, with or without a key of his own."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.archive.crate import write_crate
from harness.archive.reading import open_archive
from harness.archive.run_folder import list_evidence
from harness.archive.writing import write_archive
from harness.documents.document import read_json
from harness.images import oci_documents
from harness.images.layer import END_OF_ARCHIVE, Entry, header, padding
from harness.signing.certificate import build_certificate
from harness.signing.keys import Signing, create_key, load_signer
from harness.system.files import FolderFiles
from harness.system.store import write_json
from harness.verify.evidence import read_evidence
from harness.verify.record import read_record
from harness.verify.written_again import manifest_again
from harness.workflow.verify import rendered_again
from tests.made.documents import read_documents
from tests.tamper.made_run import WHOLE, Plan, make_run

BUNDLE, KEY = "certificate.intoto.jsonl", "key.json"


@dataclass(frozen=True)
class Made:
    """An honest run with its archive, another one like it, and two keys."""

    folder: Path
    archive: Path
    other_folder: Path
    other_archive: Path
    signer: Signing
    attacker: Signing
    scratch: Path

    def target(self) -> Path:
        return self.scratch / "attacked.oci.tar"

    def titles(self, archive: Path | None = None) -> dict[str, bytes]:
        """Everything in an archive, by name."""
        with open_archive(archive or self.archive, silent) as opened:
            return {name: bytes(opened.files.read(name, max_bytes=1 << 30)) for name in opened.files.digests}

    def rewritten(self, titles: dict[str, bytes]) -> Path:
        """An archive of perfect form that holds these files; it takes no key to make one."""
        blobs = {name: oci_documents.blob_of(data) for name, data in titles.items()}
        run = oci_documents.render_artifact(oci_documents.RUN, blobs)
        contents = {oci_documents.blob_of(data): data for data in (run, oci_documents.EMPTY, *titles.values())}
        index = oci_documents.render_index(oci_documents.blob_of(run), None, None)
        members = [*oci_documents.named_members(titles).items()]
        members += [(oci_documents.LAYOUT_FILE, oci_documents.LAYOUT), (oci_documents.INDEX_FILE, index)]
        members += [(blob.path, data) for blob, data in sorted(contents.items())]
        return self.packed(members)

    def members(self) -> list[tuple[str, bytes]]:
        """The tar members of the honest archive, in its order."""
        import tarfile

        with tarfile.open(self.archive) as tar:
            return [(member.name, tar.extractfile(member).read()) for member in tar]

    def packed(self, members: list[tuple[str, bytes]]) -> Path:
        """A canonical tar of these members."""
        headers = [header(Entry(path=name, kind="file", size=len(data))) for name, data in members]
        parts = [head + data + padding(len(data)) for head, (_, data) in zip(headers, members, strict=True)]
        return self.raw(b"".join(parts) + END_OF_ARCHIVE)

    def raw(self, data: bytes) -> Path:
        self.target().write_bytes(data)
        return self.target()

    def resigned(
        self, edit: Callable[[Path], Any], *, derive: bool = True, statement: Callable[[Any], Any] | None = None
    ) -> Path:
        """The strongest forgery: evidence edited, everything that follows from it written again, signed anew.

        Args:
            edit: changes the run's folder.
            derive: write manifest and reports again, as the edited evidence and the edited verdict give them.
            statement: changes the certificate before it is signed.
        """
        folder = self.scratch / "forged" / self.folder.name
        shutil.rmtree(folder.parent, ignore_errors=True)
        shutil.copytree(self.folder, folder, symlinks=True)
        edit(folder)
        if derive:
            derive_again(folder)
        manifest, verdict = read_documents(folder)
        write_crate(folder, verdict, manifest)
        certify_again(folder, statement)
        write_archive(folder, self.target(), self.attacker, full=None, progress=silent)
        return self.target()


def made(scratch: Path, plan: Plan = WHOLE, names: tuple[str, str] = ("signer", "attacker")) -> Made:
    """An honest certify, archived and signed; XDG_CONFIG_HOME must be a folder of the test's own."""
    folder = make_run(scratch / "honest", plan)
    other = make_run(scratch / "other", dataclasses.replace(plan, run_id="20260102T000000Z-ccccccc-0002"))
    for name in names:
        create_key(name)
    signer = load_signer(names[0])
    archives = [scratch / "honest.oci.tar", scratch / "other.oci.tar"]
    for source, target in zip((folder, other), archives, strict=True):
        write_archive(source, target, signer, full=None, progress=silent)
    return Made(folder, archives[0], other, archives[1], signer, load_signer(names[1]), scratch)


def documents(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    return tuple(read_json((folder / name).read_bytes(), name) for name in ("manifest.json", "verdict.json"))


def derive_again(folder: Path) -> None:
    """Manifest and reports, as the evidence and the verdict that now lie there give them."""
    record = read_record(*((folder / name).read_bytes() for name in ("manifest.json", "verdict.json")))
    evidence = read_evidence(record, FolderFiles(folder)).trajectories
    write_json(folder / "manifest.json", manifest_again(record, evidence))
    manifest, verdict = read_documents(folder)
    for name, data in rendered_again(verdict, manifest, tuple(evidence.values())).items():
        (folder / name).write_bytes(data)


def certify_again(folder: Path, statement: Callable[[Any], Any] | None = None) -> None:
    """The certificate of whatever lies there, with a complete list of evidence."""
    import rfc8785

    manifest, verdict = read_documents(folder)
    digests = {name: str(digest) for name, digest in list_evidence(folder).items()}
    certificate = build_certificate(verdict, manifest, digests)
    if statement is not None:
        value = json.loads(certificate)
        statement(value)
        certificate = rfc8785.dumps(value)
    (folder / "certificate.json").write_bytes(certificate)


def edit_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    value = json.loads(path.read_text())
    change(value)
    write_json(path, value)


def silent(_: str) -> None:
    """Tell nobody."""
