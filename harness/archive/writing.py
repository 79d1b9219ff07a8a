"""Writes a finished run as one file, signed; the same run and key give the same bytes.

The file is an OCI image layout in one uncompressed tar archive; docs/decisions/0015 says why. It is written beside its
target and renamed at the end, so that nobody sees half of one, and every file is hashed again as it is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.archive.archive_file import open_file
from harness.archive.code_tar import NAME as CODE_TAR
from harness.archive.code_tar import code_tar, code_tar_size
from harness.archive.full import Full, Source, bytes_source, file_source
from harness.archive.reading import begins_as_archive
from harness.archive.run_folder import FinishedRun, read_finished
from harness.errors import TamperedError, UsageError
from harness.images import oci_documents
from harness.images.layer import END_OF_ARCHIVE, Entry, header, padding
from harness.images.oci_documents import Blob
from harness.signing.keys import Signing
from harness.signing.public_key import KEY_FILE
from harness.signing.statements import statements
from harness.system.store import Progress, disk_errors, replaced

BUNDLE = "certificate.intoto.jsonl"
PUBLISHED = ("manifest.json", "verdict.json", "straight/run-1.json", "straight/runs/1/ledger.jsonl")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveResult:
    """A written archive: its sha256 (`sha256:<hex>`), its size, how many files of evidence it holds, who signed."""

    path: Path
    digest: str
    size_bytes: int
    num_files: int
    num_packages: int
    image_id: str | None
    key_id: str


def archive_name(run: FinishedRun) -> str:
    return f"{run.verdict.experiment}-{run.verdict.run_id}.oci.tar"


def is_archive(path: Path) -> bool:
    """Whether a file begins as an archive does."""
    return begins_as_archive(open_file(path))


def check_target(target: Path, folder: Path) -> None:
    """Whether the archive of a run's folder can be put there; to be asked before much is gathered for it.

    Raises:
        UsageError: its folder is not there, or something that is no archive is (only an older archive is replaced), or
            it would be one more file of the run, which its certificate does not list.
    """
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {target.parent}", "make it, or put the archive elsewhere: --output FILE")
    if target.exists() and not target.is_file():
        raise UsageError(f"{target} is no file, and an archive would take its place", "give --output another name")
    if target.exists() and not is_archive(target):
        raise UsageError(f"{target} is there already, and is no archive", "remove it, or give --output another name")
    if folder.resolve() in target.resolve().parents:
        raise UsageError(f"{target} lies inside the run that is archived", "put the archive elsewhere: --output FILE")


def write_archive(
    folder: Path, target: Path, signer: Signing, *, full: Full | None, progress: Progress
) -> ArchiveResult:
    """Write a run's archive, in one step.

    A file that is there is replaced. `full` is image, packages and inputs, or None for the evidence alone.

    Raises:
        UsageError: the run did not finish, or holds what no archive can.
        TamperedError: a file was changed since the certificate was written, or while the archive is.
        HostError: the disk is full.
    """
    run = read_finished(folder)
    evidence = _evidence(run, signer)
    blobs = {name: source.blob for name, source in evidence.items()}
    documents = [
        bytes_source(oci_documents.render_artifact(oci_documents.RUN, blobs)),
        bytes_source(oci_documents.EMPTY),
    ]
    packages = None
    if full is not None:
        titles = {title: source.blob for title, source in full.packages.items()}
        packages = bytes_source(oci_documents.render_artifact(oci_documents.PACKAGES, titles))
        documents.append(packages)
    index = oci_documents.render_index(
        documents[0].blob, full.image if full else None, packages.blob if packages else None
    )
    if max(len(index), *(source.blob.size for source in documents)) > oci_documents.MAX_DOCUMENT_BYTES:
        raise UsageError(f"{folder.name} holds too many files for one archive", "let the pipeline write fewer files")
    beside = (*full.packages.values(), *full.image_sources) if full else ()
    sources = {source.blob: source for source in (*evidence.values(), *documents, *beside)}
    progress(f"writing {target.name}, {sum(blob.size for blob in sources) / 1e6:.0f} MB")
    with disk_errors("writing the archive"), replaced(target) as temporary:
        named = oci_documents.named_members(evidence)
        written = oci_documents.write_blob(temporary, _chunks(named, index, sources.values()))
    return ArchiveResult(
        path=target,
        digest=written.digest,
        size_bytes=written.size,
        num_files=len(run.evidence),
        num_packages=len(full.packages) if full else 0,
        image_id=full.image.image_id if full and full.image else None,
        key_id=signer.key.key_id,
    )


def publish(folder: Path, manifests: Path, signer: Signing) -> Path:
    """Write what a repository keeps of a run for ever: manifest, verdict, signed certificate, and the straight ledger.

    Returns:
        The folder, `manifests/<experiment>/<run id>`; what was there is replaced.

    Raises:
        UsageError: the run did not finish.
        TamperedError: a file was changed since the certificate was written.
        HostError: the disk is full.
    """
    run = read_finished(folder)
    target = manifests / run.verdict.experiment / run.verdict.run_id
    contents = {name: (folder / name).read_bytes() for name in PUBLISHED if name in run.evidence}
    contents |= {name: b"".join(source.chunks()) for name, source in _signed(run, signer).items()}
    with disk_errors("publishing the manifest"):
        for name, content in sorted(contents.items()):
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with replaced(path) as temporary:
                temporary.write_bytes(content)
    return target


def _signed(run: FinishedRun, signer: Signing) -> dict[str, Source]:
    bundle = signer.sign(statements(run.certificate, run.verdict, run.manifest))
    return {BUNDLE: bytes_source(bundle), KEY_FILE: bytes_source(signer.key.render())}


def _evidence(run: FinishedRun, signer: Signing) -> dict[str, Source]:
    code = run.folder / "code"
    with disk_errors("reading the run"):
        files = {
            name: file_source(run.folder / name, digest) for name, digest in run.evidence.items() if name != CODE_TAR
        }
        if CODE_TAR in run.evidence:
            blob = Blob(run.evidence[CODE_TAR], code_tar_size(code))
            files[CODE_TAR] = Source(blob, lambda: code_tar(code))
    return {**files, **_signed(run, signer)}


def _chunks(named: Mapping[str, Source], index: bytes, sources: Iterable[Source]) -> Iterator[bytes]:
    for name, source in named.items():
        yield from _member(name, source)
    yield from _member(oci_documents.LAYOUT_FILE, bytes_source(oci_documents.LAYOUT))
    yield from _member(oci_documents.INDEX_FILE, bytes_source(index))
    for source in sorted(sources, key=lambda source: source.blob.digest):
        yield from _member(source.blob.path, source)
    yield END_OF_ARCHIVE


def _member(path: str, source: Source) -> Iterator[bytes]:
    """A member; its contents are those of its blob, or the archive is not written."""
    yield header(Entry(path=path, kind="file", size=source.blob.size))
    hasher, size = hashlib.sha256(), 0
    for chunk in source.chunks():
        hasher.update(chunk)
        size += len(chunk)
        yield chunk
    if Blob("sha256:" + hasher.hexdigest(), size) != source.blob:
        raise TamperedError(f"{path} changed while the archive was written", "let nothing write there, and try again")
    yield padding(size)
