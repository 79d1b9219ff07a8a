"""The packages of a full archive: exactly those that the run's own locks and inputs name, checked and put to use."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from harness.archive.code_tar import NAME as CODE_TAR
from harness.archive.code_tar import read_code
from harness.archive.package_list import LICENCES, Wanted, check_licences, input_title, titles_of
from harness.documents.digest import Digest
from harness.documents.dockerfile import read_base
from harness.documents.experiment import DeclaredInput
from harness.documents.lockfile import parse_base_lock, parse_lock
from harness.documents.names import check_image_name
from harness.errors import EvidenceError, HarnessError, TamperedError
from harness.images.oci_documents import ImageManifest
from harness.inputs.trees import listed
from harness.system.files import Files
from harness.system.store import Progress, Store, disk_errors

if TYPE_CHECKING:
    from harness.archive.reading import Archive

_MAX_TEXT_BYTES = 64 << 20
_MAX_CODE_BYTES = 1 << 40
_CHUNK = 1 << 20
_REMEDY = "get the archive again from whoever made it, and compare its sha256"
_INPUTS = TypeAdapter(dict[str, DeclaredInput])


def read_wanted(code: Files, manifest: Mapping[str, Any]) -> Wanted:
    """What a run was made from.

    Args:
        code: the exported code.
        manifest: `manifest.json`.

    Raises:
        UsageError: a lock, a Dockerfile or an input is malformed.
        EvidenceError: a file is missing, or the manifest is not one of ours.
    """
    try:
        image_id = manifest["image"]["id"] if manifest["runner"] == "docker" else None
        name = check_image_name(manifest["experiment"]["image"])
        inputs = _INPUTS.validate_python(manifest["experiment"]["inputs"])
    except (KeyError, TypeError, ValidationError) as error:
        raise EvidenceError(f"manifest.json has not the form of a run's: {str(error)[:200]}", _REMEDY) from error
    base = read_base(_text(code, f"images/{name}/Dockerfile"), f"images/{name}/Dockerfile")
    base_lock = None if base.digest else _text(code, f"lockfiles/{base.name}.lock")
    return Wanted(
        lock=parse_lock(_text(code, f"lockfiles/{name}.lock"), f"{name}.lock"),
        base_lock=parse_base_lock(base_lock, f"{base.name}.lock") if base_lock is not None else None,
        inputs=tuple(value.named(key) for key, value in sorted(inputs.items())),
        image_id=image_id,
    )


def check_packages(
    files: Files,
    packages: Files | None,
    digests: Mapping[str, Digest],
    image: ImageManifest | None,
    image_config: bytes,
) -> None:
    """Hold the second half of a full archive against the first: the run's manifest and its code.

    Args:
        files: the run's.
        packages: the packages.
        digests: of the packages, by title; they are right already.
        image: the image's manifest, whose digests are right already.
        image_config: the image's configuration.

    Raises:
        TamperedError: something is missing, is not named by the run, or is another than it names.
    """
    try:
        manifest = json.loads(bytes(files.read("manifest.json", max_bytes=_MAX_TEXT_BYTES)))
        wanted = read_wanted(read_code(_view(files.read(CODE_TAR, max_bytes=_MAX_CODE_BYTES))), manifest)
        _check_image(image, image_config, wanted)
        if packages is None:
            raise TamperedError("the archive holds an image and no packages", _REMEDY)
        titles = titles_of(wanted, lambda digest: _listed(packages, digest))
        found = {title: str(digest) for title, digest in digests.items() if title != LICENCES}
        if found != titles:
            wrong = min(title for title in found.keys() | titles.keys() if found.get(title) != titles.get(title))
            how = "is not the one that is named" if wrong in titles else "is named by no lock and no input"
            how = how if wrong in found else "is missing"
            raise TamperedError(f"the archive's packages are not those of the run: {wrong} {how}", _REMEDY)
        check_licences(bytes(packages.read(LICENCES, max_bytes=_MAX_TEXT_BYTES)), wanted)
    except TamperedError:
        raise
    except (HarnessError, ValueError, RecursionError) as error:
        what = error.problem if isinstance(error, HarnessError) else str(error)[:200]
        raise TamperedError(f"what the archive was made from cannot be read: {what}", _REMEDY) from error


def restore_packages(archive: Archive, store: Store, progress: Progress) -> int:
    """Put what a full archive holds into the cache, as if it had been fetched; returns how many files were new.

    Afterwards the image is built and the inputs are laid out without a network: who looks for a wheel, a Debian package
    or an input in the cache finds it by the sha256 that the lock or the experiment names.

    Raises:
        HostError: the disk is full.
    """
    if archive.packages is None:
        return 0
    wanted = {str(digest): title for title, digest in archive.package_digests.items() if title != LICENCES}
    missing = {digest: title for digest, title in wanted.items() if store.find(digest) is None}
    progress(f"{len(missing)} of {len(wanted)} packages and inputs are taken from the archive")
    with disk_errors("taking packages out of the archive"), store.scratch("restore") as scratch:
        for digest, title in missing.items():
            view = _view(archive.packages.read(title, max_bytes=_MAX_CODE_BYTES))
            with (scratch / "blob").open("wb") as output:
                for begin in range(0, len(view), _CHUNK):
                    output.write(view[begin : begin + _CHUNK])
            store.add(scratch / "blob", digest, title)
    return len(missing)


def _check_image(image: ImageManifest | None, config: bytes, wanted: Wanted) -> None:
    """The image is the one that the run names, and has the layers that its configuration names."""
    if (image.image_id if image else None) != wanted.image_id:
        shown = [one[:19] if one else "none" for one in (image and image.image_id, wanted.image_id)]
        raise TamperedError(f"the archive's image is {shown[0]}, the run's is {shown[1]}", _REMEDY)
    if image is not None and json.loads(config)["rootfs"]["diff_ids"] != [layer.digest for layer in image.layers]:
        raise TamperedError("the archive's image has other layers than its configuration names", _REMEDY)


def _listed(packages: Files, digest: str) -> tuple[str, ...]:
    data = bytes(packages.read(input_title(digest), max_bytes=_MAX_TEXT_BYTES))
    return tuple(file for file, _ in listed(os.fsdecode(data)))


def _text(code: Files, path: str) -> str:
    return bytes(code.read(path, max_bytes=_MAX_TEXT_BYTES)).decode("utf-8")


def _view(data: Any) -> memoryview:
    return memoryview(data)
