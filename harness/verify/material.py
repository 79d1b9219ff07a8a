"""The material: what there is to verify, be it an archive, a run's folder, a published one, or a certificate alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.documents.digest import Digest
from harness.documents.document import MAX_BYTES
from harness.errors import EvidenceError, HostError, TamperedError, UsageError
from harness.images.oci_documents import NOT_ARCHIVED
from harness.signing.bundle import MAX_BUNDLE_BYTES
from harness.signing.public_key import KEY_FILE, MAX_KEY_BYTES
from harness.system.files import Files, FolderFiles
from harness.system.store import Progress
from harness.verify.verification import LEVELS, Kind, Level

BUNDLE = "certificate.intoto.jsonl"
CERTIFICATE = "certificate.json"
CODE_TAR = "code.tar"
_TAKES = "give an archive, the folder of a run, a published folder, or a certificate.intoto.jsonl"
_INCOMPLETE = "get the archive again from where it was published"


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What there is.

    Attributes:
        kind: how it lies here.
        files: everything by the names that the certificate uses.
        digests: the sha256 of each file of evidence that is here, computed from its bytes.
        size_bytes: of all of it.
        code: opens the exported code; None where it is not here.
        form: what was checked about its form already, in words.
        bundle_name: what the signed statements are called; of the files beside a bundle alone only its key counts.
    """

    kind: Kind
    files: Files
    digests: Mapping[str, Digest]
    size_bytes: int
    code: Path | None = None
    form: str = ""
    bundle_name: str = BUNDLE

    @property
    def level(self) -> Level:
        """How far it reaches."""
        return LEVELS[self.kind]

    @property
    def is_signed(self) -> bool:
        """Whether there is a bundle of signed statements."""
        return self.files.exists(self.bundle_name)

    def bundle(self) -> bytes:
        """The signed statements.

        Raises:
            TamperedError: they are not there.
        """
        return self.needed(self.bundle_name, MAX_BUNDLE_BYTES)

    def key(self) -> bytes | None:
        """The public key beside them, if there is one."""
        return self.needed(KEY_FILE, MAX_KEY_BYTES) if self.files.exists(KEY_FILE) else None

    def document(self, name: str) -> bytes:
        """A JSON document.

        Raises:
            TamperedError: it is not there, or too large to be one of ours.
        """
        return self.needed(name, MAX_BYTES)

    def needed(self, name: str, max_bytes: int) -> bytes:
        """A file without which nothing can be said.

        Raises:
            TamperedError: it is not there, or too large.
        """
        try:
            return bytes(self.files.read(name, max_bytes=max_bytes))
        except EvidenceError as error:
            raise TamperedError(error.problem, _INCOMPLETE) from error


@contextlib.contextmanager
def open_material(path: Path, kind: Kind, progress: Progress) -> Iterator[Material]:
    """Open what lies at a path; of an archive, form and digests are checked before anything else.

    Raises:
        TamperedError: an archive whose form or digests are wrong.
        HostError: it cannot be read.
    """
    if kind in ("run", "published"):
        yield _folder(path, kind)
    elif kind == "certificate":
        file = path.resolve()
        files, size = FolderFiles(file.parent), path.stat().st_size
        yield Material(kind="certificate", files=files, digests={}, size_bytes=size, bundle_name=file.name)
    else:
        from harness.archive.reading import open_archive

        with open_archive(path, progress) as archive:
            evidence = {
                name: digest for name, digest in archive.files.digests.items() if name not in (BUNDLE, KEY_FILE)
            }
            form = f"{archive.size_bytes} bytes" + (", with image and packages" if archive.is_full else "")
            yield Material(
                kind="archive", files=archive.files, digests=evidence, size_bytes=archive.size_bytes, form=form
            )


def kind_of(path: Path) -> Kind:
    """What lies at a path.

    Raises:
        UsageError: nothing is there, or nothing that could be verified.
        HostError: it cannot be read.
    """
    try:
        is_folder, is_there, is_file = path.is_dir(), path.exists(), path.is_file()
        is_bundle = is_file and _is_bundle(path)
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}", "check its permissions") from error
    if is_folder:
        code = path.resolve() / "code"
        return "run" if code.is_dir() and not code.is_symlink() else "published"
    if not is_there:
        raise UsageError(f"there is no {path}", _TAKES)
    if not is_file:
        raise UsageError(f"{path} is no file: a pipe cannot be read in place", f"write it to a file first; {_TAKES}")
    if path.name == CERTIFICATE:
        raise UsageError(f"{path} alone is not signed", "give its folder, or the archive that was made of it")
    return "certificate" if is_bundle else "archive"


def _folder(path: Path, kind: Kind) -> Material:
    """A folder; what lies in it beside what its certificate lists is found later, by comparing the two."""
    from harness.archive.run_folder import list_evidence, list_files

    files = FolderFiles(path.resolve())
    if not (files.exists(BUNDLE) or files.exists(CERTIFICATE)):
        problem = f"{path} holds no certificate: neither {BUNDLE} nor {CERTIFICATE}"
        raise UsageError(problem, f"a certify that did not end has none; {_TAKES}")
    try:
        digests = list_evidence(path)
        names, left_out = list_files(path)
        size = sum((path / name).stat().st_size for name in (*names, *digests.keys() & {NOT_ARCHIVED}))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "make its files readable") from error
    told = bytes(files.read(NOT_ARCHIVED, max_bytes=MAX_BYTES)) if files.exists(NOT_ARCHIVED) else b""
    if left_out.paths and told != left_out.write():
        raise TamperedError(f"{path} holds something that no certify left there: {left_out.paths[0]}", _INCOMPLETE)
    return Material(
        kind=kind,
        files=files,
        digests=digests,
        size_bytes=size,
        code=path.resolve() / "code" if kind == "run" else None,
    )


def _is_bundle(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(12).startswith(b'{"payload"')
