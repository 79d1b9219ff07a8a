"""The layout inside an archive: an OCI image layout whose every document is a function of what it describes.

Two artifacts and an image at most: the run's evidence, the image's own manifest, and the packages that the image and
the inputs are made from. A document is read by making it again from what was read, and comparing the bytes, so that
nothing can stand in it that nobody looks at.

Sources: OCI Image Format Specification 1.1, "Image Layout", "Image Index", "Image Manifest" and "Guidelines for
Artifact Usage"; RFC 8785.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError

from harness.documents.document import Model
from harness.documents.lockfile import digest_of
from harness.errors import TamperedError

RUN = "application/vnd.repro-harness.run.v1"
PACKAGES = "application/vnd.repro-harness.packages.v1"
LAYOUT_FILE, INDEX_FILE, BLOBS = "oci-layout", "index.json", "blobs/sha256/"
NOT_ARCHIVED = "not-archived.json"
NAMED = ("README.txt", "report.html", "verdict.json")
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
FILE_TYPE = "application/octet-stream"
TITLE = "org.opencontainers.image.title"
REF_NAME = "org.opencontainers.image.ref.name"
PLATFORM = {"architecture": "amd64", "os": "linux"}
EMPTY = b"{}"
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
MAX_TITLES = 30_000
MAX_DOCUMENT_BYTES = 8 << 20
_MAX_TITLE_BYTES = 4096
_REMEDY = "get the archive again from whoever made it, and compare its sha256"
M = TypeVar("M", bound=Model)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, order=True)
class Blob:
    """Contents by their sha256 (`sha256:<hex>`) and their size in bytes."""

    digest: str
    size: int

    @property
    def path(self) -> str:
        """The member of an archive that holds it."""
        return BLOBS + self.digest.removeprefix("sha256:")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageManifest:
    """An image inside an archive: its manifest, its configuration (whose digest is the image's id) and its layers."""

    manifest: Blob
    config: Blob
    layers: tuple[Blob, ...]

    @property
    def image_id(self) -> str:
        """`sha256:<hex>`, as everywhere."""
        return self.config.digest

    @property
    def reference(self) -> str:
        """The name that tools load it by: the first 12 digits of its id."""
        return reference_of(self.image_id)


class Descriptor(Model):
    """What a document of a layout refers to; the fields of these models have OCI's names."""

    mediaType: str
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0, lt=1 << 53)]
    artifactType: str | None = None
    annotations: dict[str, str] | None = None
    platform: dict[str, str] | None = None

    @property
    def blob(self) -> Blob:
        """What it refers to, without what is said of it."""
        return Blob(self.digest, self.size)


class Manifest(Model):
    schemaVersion: Literal[2] = 2
    mediaType: str = MANIFEST_TYPE
    artifactType: str | None = None
    config: Descriptor
    layers: tuple[Descriptor, ...]


class Index(Model):
    schemaVersion: Literal[2] = 2
    mediaType: str = INDEX_TYPE
    manifests: tuple[Descriptor, ...]


def write_blob(path: Path, chunks: Iterable[bytes]) -> Blob:
    """Write a file; returns what it is."""
    hasher, size = hashlib.sha256(), 0
    with path.open("wb") as output:
        for chunk in chunks:
            hasher.update(chunk)
            size += output.write(chunk)
    return Blob(f"sha256:{hasher.hexdigest()}", size)


def blob_of(data: bytes) -> Blob:
    return Blob(digest_of(data), len(data))


def reference_of(image_id: str) -> str:
    """The name by which an image is loaded from an archive: the tag that it is kept under."""
    return image_id.removeprefix("sha256:")[:12]


def describe(media_type: str, blob: Blob) -> Descriptor:
    return Descriptor(mediaType=media_type, digest=blob.digest, size=blob.size)


def render(document: Model) -> bytes:
    """RFC 8785: our keys are ASCII and our numbers small integers, so sorted keys without spaces in UTF-8 are it."""
    value = document.model_dump(mode="json", exclude_none=True)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def render_artifact(kind: str, members: Mapping[str, Blob]) -> bytes:
    """The manifest of an artifact: `members` by their titles, sorted."""
    layers = tuple(
        describe(FILE_TYPE, members[title]).model_copy(update={"annotations": {TITLE: title}})
        for title in sorted(members, key=lambda text: text.encode("utf-8", "surrogatepass"))
    )
    return render(Manifest(artifactType=kind, config=describe(EMPTY_TYPE, blob_of(EMPTY)), layers=layers))


def render_image(config: Blob, layers: Iterable[Blob]) -> bytes:
    """The manifest of an image with uncompressed layers, lowest first."""
    described = tuple(describe(LAYER_TYPE, layer) for layer in layers)
    return render(Manifest(config=describe(CONFIG_TYPE, config), layers=described))


def image_entry(manifest: Blob, annotations: Mapping[str, str]) -> Descriptor:
    """An image's manifest as an index has it."""
    update = {"annotations": dict(annotations), "platform": PLATFORM}
    return describe(MANIFEST_TYPE, manifest).model_copy(update=update)


def render_index(run: Blob, image: ImageManifest | None, packages: Blob | None) -> bytes:
    """`index.json`: the manifests of an archive, in this order."""
    entries = [_artifact_entry(run, RUN, "run")]
    if image is not None:
        entries.append(image_entry(image.manifest, {REF_NAME: image.reference}))
    if packages is not None:
        entries.append(_artifact_entry(packages, PACKAGES, "packages"))
    return render(Index(manifests=tuple(entries)))


def _artifact_entry(manifest: Blob, kind: str, name: str) -> Descriptor:
    update = {"artifactType": kind, "annotations": {REF_NAME: name}}
    return describe(MANIFEST_TYPE, manifest).model_copy(update=update)


def parse_artifact(data: bytes, kind: str) -> dict[str, Blob]:
    """The members of an artifact, by their titles, sorted.

    Raises:
        TamperedError: it is not, byte for byte, the manifest of an artifact of that kind.
    """
    layers = _parse(Manifest, data, kind).layers
    if len(layers) > MAX_TITLES:
        raise TamperedError(f"the archive names {len(layers)} files, at most {MAX_TITLES} are read", _REMEDY)
    members = {_title(layer): layer.blob for layer in layers}
    if render_artifact(kind, members) != data:
        raise TamperedError(f"the archive's manifest of {kind} is not the canonical one of its files", _REMEDY)
    return members


def named_members(run: Mapping[str, T]) -> dict[str, T]:
    """The files of a run that an archive holds under their names too, in this order, before everything else.

    Archives of runs that have no README.txt, as before version 0.3, begin with their layout.
    """
    return {name: run[name] for name in NAMED} if run.keys() >= set(NAMED) else {}


def parse_image(data: bytes) -> ImageManifest:
    """An image's manifest.

    Raises:
        TamperedError: it is not, byte for byte, the manifest of an image with uncompressed layers.
    """
    value = _parse(Manifest, data, "an image")
    config, layers = value.config.blob, tuple(layer.blob for layer in value.layers)
    if render_image(config, layers) != data:
        raise TamperedError("the archive's manifest of the image is not the canonical one of its layers", _REMEDY)
    return ImageManifest(manifest=blob_of(data), config=config, layers=layers)


def parse_index(data: bytes) -> dict[str, Blob]:
    """The manifests that an index names: `run`, and perhaps `image` and `packages`.

    It is not compared yet: `render_index` needs the image's manifest for that.

    Raises:
        TamperedError: it names others.
    """
    found: dict[str, Blob] = {}
    for entry in _parse(Index, data, "the archive").manifests:
        name = {RUN: "run", PACKAGES: "packages", None: "image"}.get(entry.artifactType)
        if name is None or name in found:
            problem = f"the archive's index names a manifest that is not expected: {entry.artifactType!a}"
            raise TamperedError(problem[:200], _REMEDY)
        found[name] = entry.blob
    if "run" not in found:
        raise TamperedError("the archive's index names no run", _REMEDY)
    return found


def _parse(model: type[M], data: bytes, what: str) -> M:
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        problem = f"the archive's description of {what} is malformed: {where[:80]}: {first['msg'][:80]}"
        raise TamperedError(problem, _REMEDY) from None


def _title(layer: Descriptor) -> str:
    """The title of a member: a relative path in UTF-8."""
    title = (layer.annotations or {}).get(TITLE)
    if title is None or not is_title(title):
        problem = f"the archive holds a file whose name is not a path inside it: {str(title)[:80]!a}"
        raise TamperedError(problem, _REMEDY)
    return title


def is_title(title: str) -> bool:
    """Whether a file can have this name inside an archive: a relative path in UTF-8 without control characters."""
    try:
        size = len(title.encode("utf-8"))
    except UnicodeEncodeError:
        return False
    parts = title.split("/")
    is_clean = not any(ord(char) < 0x20 or ord(char) == 0x7F for char in title)
    return is_clean and size <= _MAX_TITLE_BYTES and not any(part in ("", ".", "..") for part in parts)
