"""Where the contents of an archive come from; for a full one the image from the engine, packages and inputs as well."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.archive.dependencies import Dependencies, read_dependencies
from harness.archive.licences import stated_licences
from harness.documents.archive import LICENCES
from harness.documents.inputs import Input
from harness.documents.manifest import Manifest
from harness.errors import HostError, UsageError
from harness.images import oci_documents
from harness.images.engine_images import engine_faults, find_image, save_image
from harness.images.image import image_tag
from harness.images.layer import Entry
from harness.images.layer_tar import CHUNK, encode, encoded_size
from harness.images.oci_documents import Blob, ImageManifest, blob_of
from harness.images.saved_image import CanonicalImage, reread, spool
from harness.inputs.fetch import fetch_input
from harness.inputs.trees import listed
from harness.packages.debian import fetch_packages
from harness.packages.wheels import fetch_wheels
from harness.system import engine
from harness.system.files import FolderFiles
from harness.system.store import Progress, Store, disk_errors


@dataclass(frozen=True, slots=True)
class Source:
    """A blob, and what gives its contents in chunks, as often as it is asked."""

    blob: Blob
    chunks: Callable[[], Iterator[bytes]]


def bytes_source(data: bytes) -> Source:
    """Bytes that are at hand."""
    return Source(blob_of(data), lambda: iter((data,)))


def file_source(path: Path, digest: str) -> Source:
    """A file of which the sha256 (`sha256:<hex>`) is known; it is hashed again as it is written.

    Raises:
        OSError: it cannot be read.
    """
    return Source(Blob(digest, path.stat().st_size), lambda: _chunks(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """The second half of a full archive: the image's manifest, and where its blobs and the packages come from."""

    image: ImageManifest | None
    image_sources: tuple[Source, ...]
    packages: Mapping[str, Source]


@contextlib.contextmanager
def gather_full(folder: Path, manifest: Manifest, store: Store, progress: Progress) -> Iterator[Full]:
    """Everything that a run was made from; what the cache lacks is fetched. Good until the context is left.

    Raises:
        UsageError: the run built no image, though it ran in containers.
        HostError: the engine does not have the image any more, or something cannot be fetched.
    """
    code = folder / "code"
    wanted = read_dependencies(FolderFiles(code), manifest)
    if manifest.runner == "docker" and wanted.image_id is None:
        raise UsageError(f"{folder.name} ended before an image was built", "archive it without --full")
    packages = _packages(wanted, code, store, progress)
    if wanted.image_id is None:
        yield Full(image=None, image_sources=(), packages=packages)
        return
    with _saved(str(manifest.image.name), wanted.image_id, store, progress) as image:
        layers = {layer.digest: _layer_source(layer.digest, layer.entries) for layer in image.layers}
        ordered = tuple(layers[layer.digest].blob for layer in image.layers)
        document = oci_documents.render_image(oci_documents.blob_of(image.config), ordered)
        sources = (bytes_source(document), bytes_source(image.config), *layers.values())
        yield Full(image=oci_documents.parse_image(document), image_sources=sources, packages=packages)


@contextlib.contextmanager
def _saved(name: str, image_id: str, store: Store, progress: Progress) -> Iterator[CanonicalImage]:
    """The image, spooled from the engine to the cache's disk."""
    tag = image_tag(name, image_id)
    remedy = f"build it again from the run's commit: `harness build {name}`; or archive without --full"
    with contextlib.closing(engine.connect()) as client, engine_faults(), store.scratch("archive") as scratch:
        if find_image(client, tag) is None:
            raise HostError(f"the engine does not have the image {tag} any more", remedy)
        progress(f"taking the image {tag} out of the engine")
        with disk_errors("taking the image out of the engine"):
            image = reread(spool(save_image(client, tag), scratch))
        if image.image_id != image_id:
            raise HostError(f"the engine has another image under {tag}: {image.image_id}", remedy)
        yield image


def fetch_all(wanted: Dependencies, code: Path, store: Store, progress: Progress) -> dict[str, str]:
    """Have every package and input in the cache; their digests by title.

    Raises:
        UsageError: one of them is not what its lock or the experiment says.
        HostError: one of them cannot be fetched.
    """
    fetch_wheels(wanted.lock, store, progress)
    if wanted.debs:
        fetch_packages(wanted.debs, store, os.environ, progress)
    for value in wanted.inputs:
        fetch_input(value, store, code, progress)
        _keep(value, store, code, progress)
    return wanted.titles(lambda digest: _files_of(digest, store))


def _packages(wanted: Dependencies, code: Path, store: Store, progress: Progress) -> dict[str, Source]:
    """Every package and input from the cache, by its title, and the list of licences."""
    titles = fetch_all(wanted, code, store, progress)
    progress("reading the licences of packages and inputs")
    sources = {title: file_source(_blob(digest, store), digest) for title, digest in titles.items()}
    return {**sources, LICENCES: bytes_source(wanted.licences(stated_licences(wanted, store)).write())}


def _keep(value: Input, store: Store, code: Path, progress: Progress) -> None:
    """Have the cache hold an input's own file too: a tree that was unpacked or made long ago outlives its blobs."""
    if store.find(value.sha256) is None:
        progress(f"the cache has {value.name} only as it is laid out: it is fetched again")
        with store.scratch("again") as scratch:
            fresh = Store(scratch / "cache", (store.root, *store.archives))
            fetch_input(value, fresh, code, progress)
            for blob in sorted((fresh.root / "sha256").glob("*/*")):
                store.add(blob, f"sha256:{blob.name}", value.name)


def _files_of(digest: str, store: Store) -> tuple[str, ...]:
    """The digests of a repository's files, by that of their listing."""
    return tuple(file for file, _ in listed(os.fsdecode(_blob(digest, store).read_bytes())))


def _blob(digest: str, store: Store) -> Path:
    found = store.find(digest)
    if found is None:
        raise HostError(f"{digest} vanished from the cache", "find out who removes files there, then try again")
    return found


def _layer_source(digest: str, entries: Iterable[Entry]) -> Source:
    return Source(Blob(digest, encoded_size(entries)), lambda: encode(entries))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk
