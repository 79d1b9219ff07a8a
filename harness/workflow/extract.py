"""Extract: the files of an archive, under their names in a folder.

Form, digests, signature and the signed list of files are checked before the first of them is written; nothing is
judged, which `harness verify` does with the folder as well as with the archive.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.archive.code_tar import NAME as CODE_TAR
from harness.archive.code_tar import unpack_code
from harness.documents.archive import LeftOut
from harness.documents.digest import chunks
from harness.errors import HostError, TamperedError, UsageError
from harness.images.oci_documents import NOT_ARCHIVED
from harness.signing.certificate import read_certificate
from harness.signing.public_key import KEY_FILE
from harness.system.files import Files
from harness.system.safe_read import is_plain
from harness.system.store import Progress, disk_errors
from harness.verify.material import BUNDLE, CERTIFICATE, Material, kind_of, open_material
from harness.verify.statements import check_evidence_list, check_signatures
from harness.verify.verification import Signer

_MAX_FILE_BYTES = 1 << 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """What was written: a run's folder as the archive was made of it, and who signed.

    Attributes:
        not_archived: what the folder held beside files, and no archive has.
    """

    folder: Path
    num_files: int
    size_bytes: int
    signer: Signer
    not_archived: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As `harness extract --json` prints it."""
        return {
            "schema": 1,
            "folder": str(self.folder),
            "num_files": self.num_files,
            "size_bytes": self.size_bytes,
            "signer": {"key_id": self.signer.key_id, "name": self.signer.name},
            "not_archived": list(self.not_archived),
        }


def extract(path: Path, output: Path | None, root: Path | None, progress: Progress) -> Extracted:
    """Write the files of an archive into a folder that is not there yet; it appears when all of them are in it.

    Args:
        path: the archive.
        output: the folder; None for one here, called as the archive is.
        root: the checkout, whose manifests/keys may name the key that signed.
        progress: told what is done.

    Raises:
        UsageError: it is no archive, or the folder is there.
        TamperedError: form, a digest, the signature or the signed list of files is wrong.
        HostError: there is no room for it, or it cannot be written.
    """
    if kind_of(path) != "archive":
        raise UsageError(
            f"{path} is no archive", "give a file that `harness archive` wrote; a folder needs no extracting"
        )
    folder = output or Path(path.name.removesuffix(".tar").removesuffix(".oci"))
    if os.path.lexists(folder):
        raise UsageError(f"{folder} is there already", "give another folder: --output DIR")
    with open_material(path, "archive", progress) as material:
        signer, payloads = check_signatures(material, root)
        check_evidence_list(read_certificate(payloads[0]), material)
        names = (*material.digests, BUNDLE, KEY_FILE)
        left_out = _left_out(material)
        size = _check_names(material.files, names, left_out, folder)
        progress(f"writing {len(names)} files, {size / 1e6:.0f} MB")
        with disk_errors(f"writing {folder}"):
            _write(material.files, names, folder, payloads[0], left_out)
    not_archived = (*left_out.links, *left_out.others)
    return Extracted(folder=folder, num_files=len(names), size_bytes=size, signer=signer, not_archived=not_archived)


def _left_out(material: Material) -> LeftOut:
    if not material.files.exists(NOT_ARCHIVED):
        return LeftOut(links=(), others=(), empty=())
    return LeftOut.load(material.document(NOT_ARCHIVED), NOT_ARCHIVED)


def _check_names(files: Files, names: tuple[str, ...], left_out: LeftOut, folder: Path) -> int:
    """How many bytes they take; a few bytes of an archive may say of many files that each holds the same gigabyte."""
    if strange := next((name for name in (*names, *left_out.empty) if not is_plain(name)), None):
        raise TamperedError(f"{strange!a} is no name for a file on this system", "extract it on Linux")
    size = sum(len(files.read(name, max_bytes=_MAX_FILE_BYTES)) for name in names)
    with disk_errors(f"writing {folder}"):
        free = shutil.disk_usage(folder.absolute().parent).free
    if size > free:
        problem = f"{folder} takes {size / 1e9:.1f} GB, {free / 1e9:.1f} GB of the disk are free"
        raise HostError(problem, "free some disk space, or give another folder: --output DIR")
    return size


def _write(files: Files, names: tuple[str, ...], folder: Path, certificate: bytes, left_out: LeftOut) -> None:
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        unfinished.mkdir()
        for name in names:
            data = files.read(name, max_bytes=_MAX_FILE_BYTES)
            if name == CODE_TAR:
                continue
            target = unfinished / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as stream:
                stream.writelines(chunks(data))
        (unfinished / CERTIFICATE).write_bytes(certificate)
        for name in () if left_out.links or left_out.others else left_out.empty:
            (unfinished / name).mkdir(parents=True)
        # Last: the code may have links, which nothing shall be written through.
        if CODE_TAR in names:
            unpack_code(files.read(CODE_TAR, max_bytes=_MAX_FILE_BYTES), unfinished / "code")
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
