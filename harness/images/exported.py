"""What an engine built, taken out as the tree of a container's files and made canonical: the base's layer and one more.

A container of the built image is made, never started, and its files are exported: one stream, without the layers
between, so that what a build copied in and removed again is never moved, and the same tree is the same layer under
every storage driver.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import docker
import docker.errors
import requests

from harness.documents.lockfile import digest_of
from harness.images.base import Base
from harness.images.engine_images import patience
from harness.images.image import canonical_config
from harness.images.layer import Entry
from harness.images.layers import CHUNK, layer_digest, read_contents, read_layer
from harness.images.saved_image import CanonicalImage, CanonicalLayer
from harness.images.tree_changes import changes
from harness.system.deferred_signals import deferred


def export_tree(client: docker.DockerClient, tag: str, target: Path, remember: Callable[[str], None]) -> None:
    """Write all files of an image to one archive.

    Args:
        client: the engine.
        tag: the image.
        target: the archive.
        remember: told of the container while there is one.

    Raises:
        OSError: the disk is full.
    """
    with _container(client, tag, remember) as container, patience(client), target.open("wb") as output:
        for chunk in client.api.export(container, chunk_size=CHUNK):
            output.write(chunk)


def canonical_image(
    client: docker.DockerClient, tag: str, archive: Path, base: Base, labels: Mapping[str, str]
) -> CanonicalImage:
    """The canonical image of an exported tree: the base as it is, and one layer of what differs from it.

    Args:
        client: the engine that has the image, asked for its configuration.
        tag: the image.
        archive: its tree.
        base: what it was built on; left out where its last stage does not stand on it.
        labels: what the image says of itself, beside the labels it has.

    Raises:
        UsageError: the archive is torn.
    """
    told = client.api.inspect_image(tag)  # type: ignore[no-untyped-call]
    digests = [layer.digest for layer in base.image.layers]
    stands_on_base = (told.get("RootFS", {}).get("Layers") or [])[: len(digests)] == digests
    kept = base.image.layers if stands_on_base else ()
    below = [entry for layer in kept for entry in layer.entries]
    entries = changes(below, read_layer(archive), _have_same_contents)
    layers = (*kept, CanonicalLayer(entries, layer_digest(entries))) if entries else kept
    config = {"architecture": told.get("Architecture"), "os": told.get("Os"), "config": told.get("Config")}
    text = canonical_config(config, tuple(layer.digest for layer in layers), labels)
    return CanonicalImage(digest_of(text), text, layers)


@contextlib.contextmanager
def _container(client: docker.DockerClient, tag: str, remember: Callable[[str], None]) -> Iterator[str]:
    container = ""
    try:
        with deferred():
            container = client.api.create_container(tag, command=["never", "started"], network_disabled=True)["Id"]
            remember(f"container {container}")
        yield container
    finally:
        with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
            client.api.remove_container(container, v=True)


def _have_same_contents(first: Entry, second: Entry) -> bool:
    pieces = itertools.zip_longest(read_contents(first), read_contents(second))
    return all(one == other for one, other in pieces)
