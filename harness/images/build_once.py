"""One build of an image from nothing: base and wheels in, a canonical image on the disk out.

The base is unpacked, the engine runs the Dockerfile without a network and without its cache, and the result is
exported and rewritten canonically: as the files of a container that is created and never started. That is one stream
without the layers between, so what a build copied in and removed again is never moved, and the same tree is the same
layer under every storage driver. What the engine made on the way is removed, also after a failure or Ctrl-C.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import docker
import docker.errors
import requests

from harness.documents.lockfile import digest_of
from harness.images.base import Base, build_base, python_of
from harness.images.engine_images import load_image, patience, run_dockerfile
from harness.images.image import canonical_config
from harness.images.layer import Entry
from harness.images.layer_tar import CHUNK, encode, layer_digest, read_contents, read_layer
from harness.images.leftovers import BUILDING, Unfinished, unfinished
from harness.images.locks import refuse
from harness.images.recipe import Recipe, build_context
from harness.images.registry import registry_base
from harness.images.saved_image import CanonicalImage, CanonicalLayer
from harness.images.tree_changes import changes
from harness.packages.debian import fetch_packages
from harness.packages.lock_export import python_version
from harness.packages.wheels import fetch_wheels
from harness.review.lock_rules import on_base
from harness.system.deferred_signals import Pool, deferred
from harness.system.store import Progress, Store, disk_errors


@dataclass(frozen=True, slots=True)
class Job:
    """What is built, in which engine, from which cache, and who hears of its progress."""

    client: docker.DockerClient
    recipe: Recipe
    store: Store
    progress: Progress


@dataclass(slots=True)
class Stages:
    """How long each stage took, in seconds."""

    seconds: list[tuple[str, float]] = field(default_factory=list)

    @contextlib.contextmanager
    def measured(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds.append((name, round(time.monotonic() - start, 2)))

    def total(self) -> float:
        return round(sum(seconds for _, seconds in self.seconds), 2)


@dataclass(frozen=True, slots=True)
class Materials:
    """What an image is built from, on disk and verified; `packages` and `wheels` are in the order of their locks."""

    packages: tuple[Path, ...]
    wheels: tuple[Path, ...]


def fetch(job: Job) -> Materials:
    """Have everything that a build needs; the base first, for the wheels must be for its Python.

    Raises:
        UsageError: something is not what its lock says, or the lock is for another Python than the base's.
        HostError: something cannot be had.
    """
    recipe, source = job.recipe, f"{job.recipe.name}.lock"
    packages: tuple[Path, ...] = ()
    if recipe.base_lock:
        refuse(on_base(recipe.lock, python_version(recipe.base_lock), recipe.base.name, source))
        packages = fetch_packages(recipe.base_lock.packages, job.store, os.environ, job.progress)
    else:
        base = registry_base(job.client, recipe.base, job.store, job.progress)
        refuse(on_base(recipe.lock, python_of(base), recipe.base.pull, source))
    return Materials(packages, fetch_wheels(recipe.lock, job.store, job.progress))


@contextlib.contextmanager
def built_from_nothing(job: Job, materials: Materials, stages: Stages) -> Iterator[CanonicalImage]:
    """One build. The image's contents lie in a scratch folder and are gone when this ends.

    Raises:
        UsageError: a step of the Dockerfile failed.
        HostError: the engine or the disk failed.
    """
    client, store = job.client, job.store
    with stages.measured("base"):
        base = _base(job, materials)
        load_image(client, base.image, base.tag)
    with store.scratch("image") as folder, disk_errors("building the image"):
        temporary, tree = f"{BUILDING}:{uuid.uuid4().hex}", folder / "tree.tar"
        # An engine takes seconds to remove tens of thousands of files: meanwhile the image can be used.
        with Pool(1) as aside:
            in_engine = contextlib.ExitStack()
            try:
                mine = in_engine.enter_context(unfinished(client, store, job.progress))
                with stages.measured("build"):
                    context = encode(build_context(job.recipe, materials.wheels, folder))
                    run_dockerfile(client, context, base.tag, temporary, job.progress, mine.remember)
                with stages.measured("export"):
                    job.progress("exporting what the engine built")
                    _export_tree(client, temporary, tree, mine)
                with stages.measured("rewrite"):
                    job.progress("rewriting it canonically")
                    image = _canonical_image(job, temporary, tree, base)
            finally:
                aside.submit(in_engine.close)
            yield image


def _base(job: Job, materials: Materials) -> Base:
    recipe = job.recipe
    if recipe.base_lock is None:
        return registry_base(job.client, recipe.base, job.store, job.progress)
    job.progress(f"unpacking {recipe.base.name}")
    return build_base(recipe.base.name, recipe.base_lock, materials.packages, job.store, afresh=True)


def _export_tree(client: docker.DockerClient, tag: str, target: Path, mine: Unfinished) -> None:
    with _container(client, tag, mine) as container, patience(client), target.open("wb") as output:
        for chunk in client.api.export(container, chunk_size=CHUNK):
            output.write(chunk)


@contextlib.contextmanager
def _container(client: docker.DockerClient, tag: str, mine: Unfinished) -> Iterator[str]:
    container = ""
    try:
        with deferred():
            made = client.api.create_container(
                tag, command=["never", "started"], network_disabled=True, labels=mine.labels
            )
            container = made["Id"]
            mine.remember(f"container {container}")
        yield container
    finally:
        with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
            client.api.remove_container(container, v=True)


def _canonical_image(job: Job, tag: str, tree: Path, base: Base) -> CanonicalImage:
    """The base as it is, unless the Dockerfile's last stage does not stand on it, and one layer of what differs."""
    found = job.client.api.inspect_image(tag)  # type: ignore[no-untyped-call]
    digests = [layer.digest for layer in base.image.layers]
    stands_on_base = (found.get("RootFS", {}).get("Layers") or [])[: len(digests)] == digests
    kept = base.image.layers if stands_on_base else ()
    below = [entry for layer in kept for entry in layer.entries]
    entries = changes(below, read_layer(tree), _have_same_contents)
    layers = (*kept, CanonicalLayer(entries, layer_digest(entries))) if entries else kept
    config = {"architecture": found.get("Architecture"), "os": found.get("Os"), "config": found.get("Config")}
    text = canonical_config(config, tuple(layer.digest for layer in layers), job.recipe.labels)
    return CanonicalImage(digest_of(text), text, layers)


def _have_same_contents(first: Entry, second: Entry) -> bool:
    pieces = itertools.zip_longest(read_contents(first), read_contents(second))
    return all(one == other for one, other in pieces)
