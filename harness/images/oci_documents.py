"""The layout inside an archive: an OCI image layout whose every document is a function of what it describes.

Two artifacts and an image at most: the run's evidence, the image's own manifest, and the packages that the image and
the inputs are made from. A document is read by making it again from what was read, and comparing the bytes, so that
nothing can stand in it that nobody looks at.

Sources: OCI Image Format Specification 1.1, "Image Layout", "Image Index", "Image Manifest" and "Guidelines for
Artifact Usage"; RFC 8785.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.documents.lockfile import digest_of
from harness.errors import TamperedError

RUN = "application/vnd.repro-harness.run.v1"
PACKAGES = "application/vnd.repro-harness.packages.v1"
LAYOUT_FILE, INDEX_FILE, BLOBS = "oci-layout", "index.json", "blobs/sha256/"
NOT_ARCHIVED = "not-archived.json"
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
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")


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


def blob_of(data: bytes) -> Blob:
    """The blob of some bytes."""
    return Blob(digest_of(data), len(data))


def reference_of(image_id: str) -> str:
    """The name by which an image is loaded from an archive: the tag that it is kept under."""
    return image_id.removeprefix("sha256:")[:12]


def render_artifact(kind: str, members: Mapping[str, Blob]) -> bytes:
    """The manifest of an artifact: `members` by their titles, sorted."""
    layers = [
        {**_descriptor(FILE_TYPE, members[title]), "annotations": {TITLE: title}}
        for title in sorted(members, key=lambda text: text.encode("utf-8", "surrogatepass"))
    ]
    return _render(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": kind,
            "config": _descriptor(EMPTY_TYPE, blob_of(EMPTY)),
            "layers": layers,
        }
    )


def render_image(config: Blob, layers: Iterable[Blob]) -> bytes:
    """The manifest of an image with uncompressed layers, lowest first."""
    return _render(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _descriptor(CONFIG_TYPE, config),
            "layers": [_descriptor(LAYER_TYPE, layer) for layer in layers],
        }
    )


def render_index(run: Blob, image: ImageManifest | None, packages: Blob | None) -> bytes:
    """`index.json`: the manifests of an archive, in this order."""
    entries: list[dict[str, Any]] = [
        {**_descriptor(MANIFEST_TYPE, run), "artifactType": RUN, "annotations": {REF_NAME: "run"}}
    ]
    if image is not None:
        names = {"annotations": {REF_NAME: image.reference}, "platform": PLATFORM}
        entries.append({**_descriptor(MANIFEST_TYPE, image.manifest), **names})
    if packages is not None:
        named = {"artifactType": PACKAGES, "annotations": {REF_NAME: "packages"}}
        entries.append({**_descriptor(MANIFEST_TYPE, packages), **named})
    return _render({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries})


def parse_artifact(data: bytes, kind: str) -> dict[str, Blob]:
    """The members of an artifact, by their titles, sorted.

    Raises:
        TamperedError: it is not, byte for byte, the manifest of an artifact of that kind.
    """
    members: dict[str, Blob] = {}
    layers = _list(_parse(data, kind), "layers")
    if len(layers) > MAX_TITLES:
        raise TamperedError(f"the archive names {len(layers)} files, at most {MAX_TITLES} are read", _REMEDY)
    for layer in layers:
        title = layer.get("annotations", {}).get(TITLE) if isinstance(layer.get("annotations"), dict) else None
        members[_checked_title(title)] = _blob(layer)
    if render_artifact(kind, members) != data:
        raise TamperedError(f"the archive's manifest of {kind} is not the canonical one of its files", _REMEDY)
    return members


def parse_image(data: bytes) -> ImageManifest:
    """An image's manifest.

    Raises:
        TamperedError: it is not, byte for byte, the manifest of an image with uncompressed layers.
    """
    value = _parse(data, "an image")
    config = value.get("config")
    found = ImageManifest(
        manifest=blob_of(data),
        config=_blob(config if isinstance(config, dict) else {}),
        layers=tuple(_blob(layer) for layer in _list(value, "layers")),
    )
    if render_image(found.config, found.layers) != data:
        raise TamperedError("the archive's manifest of the image is not the canonical one of its layers", _REMEDY)
    return found


def parse_index(data: bytes) -> dict[str, Blob]:
    """The manifests that an index names: `run`, and perhaps `image` and `packages`.

    It is not compared yet: `render_index` needs the image's manifest for that.

    Raises:
        TamperedError: it names others.
    """
    found: dict[str, Blob] = {}
    for entry in _list(_parse(data, "the archive"), "manifests"):
        kind = entry.get("artifactType")
        name = {RUN: "run", PACKAGES: "packages", None: "image"}.get(kind if isinstance(kind, str) else None)
        if name is None or name in found:
            raise TamperedError(f"the archive's index names a manifest that is not expected: {kind!a}"[:200], _REMEDY)
        found[name] = _blob(entry)
    if "run" not in found:
        raise TamperedError("the archive's index names no run", _REMEDY)
    return found


def _descriptor(media_type: str, blob: Blob) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": blob.digest, "size": blob.size}


def _render(value: Mapping[str, Any]) -> bytes:
    """RFC 8785: our keys are ASCII and our numbers small integers, so sorted keys without spaces in UTF-8 are it."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def _parse(data: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise TamperedError(f"the archive's description of {what} is no JSON: {str(error)[:80]}", _REMEDY) from None
    if not isinstance(value, dict):
        raise TamperedError(f"the archive's description of {what} is no JSON object", _REMEDY)
    return value


def _list(value: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = value.get(key)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise TamperedError(f"a document of the archive has no list of {key}", _REMEDY)
    return found


def _blob(value: Mapping[str, Any]) -> Blob:
    digest, size = value.get("digest"), value.get("size")
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest) or type(size) is not int or not 0 <= size < 1 << 53:
        raise TamperedError("a document of the archive describes something without a digest and a size", _REMEDY)
    return Blob(digest, size)


def _checked_title(title: Any) -> str:
    """A title that is a relative path in UTF-8, as it is.

    Raises:
        TamperedError: it is none.
    """
    problem = f"the archive holds a file under a name that leaves it or is none: {str(title)[:80]!a}"
    if not isinstance(title, str) or not is_title(title):
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
