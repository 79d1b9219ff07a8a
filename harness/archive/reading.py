"""Reads an archive in place: its form, byte by byte, then the digest of everything it holds. Nothing is unpacked.

The members are, in this order, `README.txt`, `report.html` and `verdict.json` of a run that has them, `oci-layout`,
`index.json` and the blobs sorted by digest, each blob referred to by a manifest and none twice. The first three are
copies of blobs, for people who only have `tar`. What the files say is not looked at here, but for what a full archive
must hold: exactly the image that the manifest names, the packages that its locks name, and the inputs that the
experiment names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.archive.archive_file import PackedFiles, open_file
from harness.archive.dependencies import check_dependencies
from harness.archive.tar import read_members
from harness.documents.archive import LICENCES, LeftOut
from harness.documents.digest import Digest, sha256_of
from harness.errors import TamperedError, UsageError
from harness.evidence.reader import Part
from harness.images import oci_documents
from harness.images.layer import BLOCK, Entry
from harness.images.oci_documents import Blob, ImageManifest
from harness.system.safe_read import OpenFile
from harness.system.store import Progress

_MAX_MEMBERS = 2 * oci_documents.MAX_TITLES + 1000
_REMEDY = "get the archive again from whoever made it, and compare its sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """An archive whose form and digests hold; it can be used as long as `open_archive` is not left.

    Attributes:
        files: the run's evidence by its titles, among it `code.tar`, `certificate.intoto.jsonl` and `key.json`.
        image: in a full archive of a run in containers; its id is that of the run's manifest.
        image_config: the image's configuration, canonical JSON.
        packages: in a full archive: `wheels/`, `debs/`, `inputs/` and `LICENSES.json`.
    """

    path: Path
    size_bytes: int
    files: PackedFiles
    image: ImageManifest | None = None
    image_config: bytes = b""
    packages: PackedFiles | None = None

    @property
    def package_digests(self) -> dict[str, str]:
        """The sha256 (`sha256:<hex>`) of each package and input by its title."""
        found = self.packages.digests if self.packages is not None else {}
        return {title: str(digest) for title, digest in found.items() if title != LICENCES}

    @property
    def is_full(self) -> bool:
        """Whether it holds what is needed to run again without a network."""
        return self.packages is not None


@contextmanager
def open_archive(path: Path, progress: Progress) -> Iterator[Archive]:
    """An archive, after everything about its form and every digest was checked in one pass.

    Raises:
        UsageError: there is no such file, or it is no archive of a run at all.
        TamperedError: a byte is not what it must be.
        HostError: the file cannot be read.
    """
    yield _read(path, open_file(path), progress)


def _read(path: Path, file: OpenFile, progress: Progress) -> Archive:
    if not begins_as_archive(file):
        raise UsageError(f"{path} is no archive of a run", "give a file that `harness archive` wrote")
    progress(f"reading {file.name}, {len(file) / 1e6:.0f} MB")
    heads, places = _members(file)
    document = bytes(heads[oci_documents.INDEX_FILE])
    manifests = oci_documents.parse_index(document)
    contents = {name: _small(file, blob, places) for name, blob in manifests.items()}
    run = oci_documents.parse_artifact(contents["run"], oci_documents.RUN)
    image = oci_documents.parse_image(contents["image"]) if "image" in contents else None
    packages = (
        oci_documents.parse_artifact(contents["packages"], oci_documents.PACKAGES) if "packages" in contents else None
    )
    if document != oci_documents.render_index(manifests["run"], image, manifests.get("packages")):
        raise TamperedError(f"{file.name}: its index is not the canonical one of what it holds", _REMEDY)
    _check_references(file.name, places, manifests, run, image, packages)
    _check_digests(file, places.values())
    _check_named(file.name, heads, run)
    archive = Archive(
        path=path,
        size_bytes=len(file),
        files=_packed(file, run, places),
        image=image,
        image_config=_small(file, image.config, places) if image else b"",
        packages=_packed(file, packages, places) if packages is not None else None,
    )
    if archive.packages is not None or image is not None:
        check_dependencies(archive)
    return archive


def begins_as_archive(file: OpenFile) -> bool:
    """Whether a file is an archive of a run, or what is left of one, as far as its first headers say."""
    offset = 0
    for name in (*oci_documents.NAMED, oci_documents.LAYOUT_FILE):
        header = file[offset : offset + BLOCK]
        size = re.fullmatch(rb"([0-7]{11})\0", header[124:136])
        if header.startswith(name.encode() + b"\0") and size:
            offset += BLOCK + -(-int(size[1], 8) // BLOCK) * BLOCK
            if name == oci_documents.LAYOUT_FILE or offset >= len(file):
                return True
    return False


def _members(file: OpenFile) -> tuple[dict[str, Part], dict[str, tuple[Blob, int]]]:
    """What comes first, by its name, and each blob with its offset by its digest, in the file's order."""
    is_named = file[: len(oci_documents.LAYOUT_FILE)] != oci_documents.LAYOUT_FILE.encode()
    first = (*(oci_documents.NAMED if is_named else ()), oci_documents.LAYOUT_FILE, oci_documents.INDEX_FILE)
    heads: dict[str, Part] = {}
    places: dict[str, tuple[Blob, int]] = {}
    last = ""
    members = read_members(file, file.name, max_members=_MAX_MEMBERS)
    for number, (entry, begin) in enumerate(members):
        expected = first[number] if number < len(first) else None
        _check_form(entry, expected, last, file.name)
        last = entry.path
        if expected:
            heads[expected] = Part(file, begin, begin + entry.size)
        else:
            blob = Blob("sha256:" + entry.path.removeprefix(oci_documents.BLOBS), entry.size)
            places[blob.digest] = (blob, begin)
    if heads.keys() != set(first) or bytes(heads[oci_documents.LAYOUT_FILE]) != oci_documents.LAYOUT:
        raise TamperedError(f"{file.name}: its {oci_documents.LAYOUT_FILE} is another, or it ends before", _REMEDY)
    return heads, places


def _check_form(entry: Entry, expected: str | None, last: str, name: str) -> None:
    digits = entry.path.removeprefix(oci_documents.BLOBS)
    is_blob = (
        entry.path.startswith(oci_documents.BLOBS) and len(digits) == 64 and set(digits) <= set("0123456789abcdef")
    )
    is_after = entry.path > last or last == oci_documents.INDEX_FILE
    is_placed = entry.path == expected if expected else is_blob and is_after
    limit = oci_documents.MAX_DOCUMENT_BYTES if expected and expected not in oci_documents.NAMED else 1 << 50
    if not is_placed or entry.kind != "file" or entry.mode != 0o644 or entry.size > limit:
        raise TamperedError(f"{name}: {entry.path[:100]!a} is no member that an archive has there", _REMEDY)


def _check_named(name: str, heads: Mapping[str, Part], run: Mapping[str, Blob]) -> None:
    """What lies under its name is what the run has under that name; all of it, or, of a run without, none."""
    wanted = oci_documents.named_members(run)
    found = {title: part for title, part in heads.items() if title in oci_documents.NAMED}
    if found.keys() != wanted.keys():
        raise TamperedError(f"{name} does not begin with the files that people read first", _REMEDY)
    for title, part in found.items():
        if Blob(str(sha256_of(part)), len(part)) != wanted[title]:
            raise TamperedError(f"{name}: its {title} is not what the run has under that name", _REMEDY)


def _small(file: OpenFile, blob: Blob, places: Mapping[str, tuple[Blob, int]]) -> bytes:
    """A blob that is read whole, its digest checked."""
    found, offset = places.get(blob.digest, (None, 0))
    if found != blob or blob.size > oci_documents.MAX_DOCUMENT_BYTES:
        raise TamperedError(f"{file.name}: {blob.path} is missing, too large, or of another size", _REMEDY)
    data = file[offset : offset + blob.size]
    if oci_documents.blob_of(data) != blob:
        raise TamperedError(f"{file.name}: {blob.path} is not what it was", _REMEDY)
    return data


def _check_references(
    name: str,
    places: Mapping[str, tuple[Blob, int]],
    manifests: Mapping[str, Blob],
    run: Mapping[str, Blob],
    image: ImageManifest | None,
    packages: Mapping[str, Blob] | None,
) -> None:
    """Every blob is referred to, with its size, and everything that is referred to is there."""
    wanted = {
        *manifests.values(),
        *run.values(),
        *(packages or {}).values(),
        oci_documents.blob_of(oci_documents.EMPTY),
    }
    wanted |= {image.config, *image.layers} if image else set()
    present = {blob for blob, _ in places.values()}
    for what, blobs in (("is missing or of another size", wanted - present), ("belongs to nothing", present - wanted)):
        if blobs:
            raise TamperedError(f"{name}: {min(blobs).path} {what}", _REMEDY)


def _packed(file: OpenFile, members: Mapping[str, Blob], places: Mapping[str, tuple[Blob, int]]) -> PackedFiles:
    placed = {title: (places[blob.digest][1], blob.size) for title, blob in members.items()}
    digests = {title: Digest.parse(members[title].digest) for title in sorted(members)}
    left_out = _left_out(file, members, places)
    return PackedFiles(file, file.name, placed, digests=digests, left_out=left_out)


def _check_digests(file: OpenFile, blobs: Iterable[tuple[Blob, int]]) -> None:
    wrong = [blob for blob, at in blobs if str(sha256_of(Part(file, at, at + blob.size))) != blob.digest]
    if wrong:
        problem = f"{file.name}: {len(wrong)} of its files are not what they were, first {wrong[0].path}"
        raise TamperedError(problem, _REMEDY)


def _left_out(file: OpenFile, run: Mapping[str, Blob], places: Mapping[str, tuple[Blob, int]]) -> LeftOut:
    """What the folder held beside its files, as `not-archived.json` names it."""
    if oci_documents.NOT_ARCHIVED not in run:
        return LeftOut(links=(), others=(), empty=())
    data = _small(file, run[oci_documents.NOT_ARCHIVED], places)
    left_out = LeftOut.load(data, oci_documents.NOT_ARCHIVED)
    if left_out.write() != data or any(path in run for path in left_out.paths):
        raise TamperedError(f"{file.name}: its {oci_documents.NOT_ARCHIVED} is not as it was written", _REMEDY)
    return left_out
