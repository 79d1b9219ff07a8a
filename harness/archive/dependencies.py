"""The second half of a full archive: exactly the packages and inputs that the run's own locks and experiment name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from harness.archive.code_tar import NAME as CODE_TAR
from harness.archive.code_tar import read_code
from harness.documents.archive import LICENCES, MAX_LICENCE, NOT_STATED, InputLicence, Licence, Licences
from harness.documents.digest import chunks
from harness.documents.dockerfile import read_base
from harness.documents.experiment import DeclaredInput
from harness.documents.inputs import LISTED, Input
from harness.documents.lockfile import BaseLock, BasePackage, Lockfile, parse_base_lock, parse_lock
from harness.documents.manifest import Manifest
from harness.documents.names import check_image_name
from harness.errors import HarnessError, TamperedError
from harness.inputs.trees import listed
from harness.system.files import Files
from harness.system.project import STOCK
from harness.system.store import Progress, Store, disk_errors

if TYPE_CHECKING:
    from harness.archive.reading import Archive

_MAX_TEXT_BYTES = 64 << 20
_MAX_CODE_BYTES = 1 << 40
_REMEDY = "get the archive again from whoever made it, and compare its sha256"
_INPUTS = TypeAdapter(dict[str, DeclaredInput])


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """What a run was made from, as its code and its manifest name it.

    `image_id` is None for a run without containers; then no Debian packages belong to it.
    """

    lock: Lockfile
    base_lock: BaseLock | None
    inputs: tuple[Input, ...]
    image_id: str | None

    @property
    def debs(self) -> tuple[BasePackage, ...]:
        """The packages of the base."""
        return self.base_lock.packages if self.base_lock and self.image_id else ()

    def titles(self, listed: Callable[[str], tuple[str, ...]]) -> dict[str, str]:
        """The sha256 (`sha256:<hex>`) of every package and input by its title in the archive, sorted.

        Args:
            listed: the digests of the files of a folder, by the digest of its listing.
        """
        found = {f"wheels/{wheel.filename}": wheel.sha256 for wheel in self.lock.wheels}
        found |= {deb_title(package): package.sha256 for package in self.debs}
        for value in self.inputs:
            files = listed(value.sha256) if value.kind in LISTED else ()
            found |= {input_title(digest): digest for digest in (value.sha256, *files)}
        return dict(sorted(found.items()))

    def licences(self, stated: Mapping[str, str]) -> Licences:
        """What each of them says its licence is; `stated` has the words by title."""

        def words(title: str) -> str:
            return (stated.get(title) or NOT_STATED)[:MAX_LICENCE]

        wheels = {pin.wheel.filename: pin for pin in self.lock.pins if pin.wheel}
        return Licences(
            wheels={
                file: Licence(name=pin.name, version=pin.version, licence=words(f"wheels/{file}"))
                for file, pin in wheels.items()
            },
            debs={
                deb_title(one).removeprefix("debs/"): Licence(
                    name=one.name, version=one.version, licence=words(deb_title(one))
                )
                for one in self.debs
            },
            inputs={
                one.name: InputLicence(
                    name=one.reference,
                    version=one.version,
                    licence=words(input_title(one.sha256)),
                    kind=one.kind,
                    sha256=one.sha256,
                )
                for one in self.inputs
            },
        )


def deb_title(package: BasePackage) -> str:
    """`debs/<name>_<version>_<architecture>.deb`."""
    return f"debs/{package.name}_{package.version}_{package.architecture}.deb"


def input_title(digest: str) -> str:
    """`inputs/<hex>`: an input's file, or of a repository its listing and each of its files."""
    return f"inputs/{digest.removeprefix('sha256:')}"


def read_dependencies(code: Files, manifest: Manifest) -> Dependencies:
    """What a run was made from, out of its exported code and its manifest.

    Raises:
        UsageError: a lock, a Dockerfile or an input is malformed.
        EvidenceError: a file is missing.
        TamperedError: the experiment in the manifest is malformed.
    """
    try:
        name = check_image_name(str(manifest.experiment["image"]))
        inputs = _INPUTS.validate_python(manifest.experiment["inputs"])
    except (KeyError, ValidationError) as error:
        raise TamperedError(f"manifest.json: the experiment is malformed: {str(error)[:200]}", _REMEDY) from error
    base = read_base(_image_text(code, f"images/{name}/Dockerfile"), f"images/{name}/Dockerfile")
    base_lock = None if base.digest else _image_text(code, f"lockfiles/{base.name}.lock")
    return Dependencies(
        lock=parse_lock(_text(code, f"lockfiles/{name}.lock"), f"{name}.lock"),
        base_lock=parse_base_lock(base_lock, f"{base.name}.lock") if base_lock is not None else None,
        inputs=tuple(value.named(key) for key, value in sorted(inputs.items())),
        image_id=manifest.image.id if manifest.runner == "docker" else None,
    )


def check_dependencies(archive: Archive) -> None:
    """Check the second half of a full archive against the first: the run's manifest and its code.

    Raises:
        TamperedError: something is missing, is not named by the run, or is another than it names.
    """
    try:
        manifest = Manifest.load(bytes(archive.files.read("manifest.json", max_bytes=_MAX_TEXT_BYTES)), "manifest.json")
        wanted = read_dependencies(read_code(archive.files.read(CODE_TAR, max_bytes=_MAX_CODE_BYTES)), manifest)
        _check_image(archive, wanted)
        packages = archive.packages
        if packages is None:
            raise TamperedError("the archive holds an image and no packages", _REMEDY)
        titles = wanted.titles(lambda digest: _listed(packages, digest))
        found = archive.package_digests
        if found != titles:
            wrong = min(title for title in found.keys() | titles.keys() if found.get(title) != titles.get(title))
            how = "is not the one that is named" if wrong in titles else "is named by no lock and no input"
            how = how if wrong in found else "is missing"
            raise TamperedError(f"the archive's packages are not those of the run: {wrong} {how}", _REMEDY)
        check_licences(bytes(packages.read(LICENCES, max_bytes=_MAX_TEXT_BYTES)), wanted)
    except TamperedError:
        raise
    except (HarnessError, KeyError, TypeError, ValueError, RecursionError) as error:
        what = error.problem if isinstance(error, HarnessError) else str(error)[:200]
        raise TamperedError(f"what the archive was made from cannot be read: {what}", _REMEDY) from error


def check_licences(data: bytes, wanted: Dependencies) -> None:
    """Check `LICENSES.json` against what the archive holds; only the words for the licences are its own.

    Raises:
        TamperedError: it is not, byte for byte, the list of these packages.
    """
    told = Licences.load(data, LICENCES)
    stated = {f"wheels/{file}": row.licence for file, row in told.wheels.items()}
    stated |= {f"debs/{file}": row.licence for file, row in told.debs.items()}
    stated |= {input_title(row.sha256): row.licence for row in told.inputs.values()}
    if wanted.licences(stated).write() != data:
        raise TamperedError(f"the archive's {LICENCES} is not the list of what the archive holds", _REMEDY)


def restore_packages(archive: Archive, store: Store, progress: Progress) -> int:
    """Put what a full archive holds into the cache, as if it had been fetched; returns how many files were new.

    Afterwards the image is built and the inputs are laid out without a network: who looks for a wheel, a Debian package
    or an input in the cache finds it by the sha256 that the lock or the experiment names.

    Raises:
        HostError: the disk is full.
    """
    if archive.packages is None:
        return 0
    wanted = {digest: title for title, digest in archive.package_digests.items()}
    missing = {digest: title for digest, title in wanted.items() if store.find(digest) is None}
    progress(f"{len(missing)} of {len(wanted)} packages and inputs are taken from the archive")
    with disk_errors("taking packages out of the archive"), store.scratch("restore") as scratch:
        for digest, title in missing.items():
            view = archive.packages.read(title, max_bytes=_MAX_CODE_BYTES)
            with (scratch / "blob").open("wb") as output:
                output.writelines(chunks(view))
            store.add(scratch / "blob", digest, title)
    return len(missing)


def _check_image(archive: Archive, wanted: Dependencies) -> None:
    """The image is the one that the run names, and has the layers that its configuration names."""
    image = archive.image
    if (image.image_id if image else None) != wanted.image_id:
        shown = [one[:19] if one else "none" for one in (image and image.image_id, wanted.image_id)]
        raise TamperedError(f"the archive's image is {shown[0]}, the run's is {shown[1]}", _REMEDY)
    layers = [layer.digest for layer in image.layers] if image else []
    if image is not None and json.loads(archive.image_config)["rootfs"]["diff_ids"] != layers:
        raise TamperedError("the archive's image has other layers than its configuration names", _REMEDY)


def _listed(packages: Files, digest: str) -> tuple[str, ...]:
    data = bytes(packages.read(input_title(digest), max_bytes=_MAX_TEXT_BYTES))
    return tuple(file for file, _ in listed(os.fsdecode(data)))


def _image_text(code: Files, path: str) -> str:
    """Of a file that the code has or, where it does not, that comes with the package."""
    stock = STOCK / path.rpartition("/")[2]
    return stock.read_text(encoding="utf-8") if stock.is_file() and not code.exists(path) else _text(code, path)


def _text(code: Files, path: str) -> str:
    return bytes(code.read(path, max_bytes=_MAX_TEXT_BYTES)).decode("utf-8")
