"""One build of an image from nothing: base and wheels in, a canonical image on the disk out.

The base is unpacked, the engine runs the Dockerfile without a network and without its cache, and what it made is taken
out and rewritten canonically. What the engine built on the way is removed, also after a failure or Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import docker

from harness.images.base import Base, build_base
from harness.images.engine_images import load_image, run_dockerfile
from harness.images.exported import canonical_image, export_tree
from harness.images.layers import encode
from harness.images.leftovers import BUILDING, unfinished
from harness.images.recipe import Recipe, build_context
from harness.images.registry import registry_base
from harness.images.saved_image import CanonicalImage
from harness.packages.debian import fetch_packages
from harness.packages.wheels import fetch_wheels
from harness.system.deferred_signals import Pool
from harness.system.store import Progress, Store, disk_errors


@dataclass(slots=True)
class Stages:
    """How long each stage took, in seconds."""

    seconds: list[tuple[str, float]] = field(default_factory=list)

    @contextlib.contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """Take the time of a stage."""
        start = time.monotonic()
        yield
        self.seconds.append((name, round(time.monotonic() - start, 2)))

    def total(self) -> float:
        """All stages together."""
        return round(sum(seconds for _, seconds in self.seconds), 2)


@dataclass(frozen=True, slots=True)
class Materials:
    """What an image is built from, on disk and verified; `packages` and `wheels` are in the order of their locks."""

    packages: tuple[Path, ...]
    wheels: tuple[Path, ...]


def fetch(client: docker.DockerClient, recipe: Recipe, store: Store, progress: Progress) -> Materials:
    """Have everything that a build needs.

    Raises:
        UsageError: something is not what its lock says.
        HostError: something cannot be had.
    """
    packages: tuple[Path, ...] = ()
    if recipe.base_lock:
        packages = fetch_packages(recipe.base_lock.packages, store, os.environ, progress)
    else:
        registry_base(client, recipe.base, store, progress)
    return Materials(packages, fetch_wheels(recipe.lock, store, progress))


@contextlib.contextmanager
def built_from_nothing(
    client: docker.DockerClient,
    recipe: Recipe,
    materials: Materials,
    store: Store,
    progress: Progress,
    stages: Stages,
) -> Iterator[CanonicalImage]:
    """One build. The image's contents lie in a scratch folder and are gone when this ends.

    Raises:
        UsageError: a step of the Dockerfile failed.
        HostError: the engine or the disk failed.
    """
    with stages.measured("base"):
        base = _base(client, recipe, materials, store, progress)
        load_image(client, base.image, base.tag)
    with store.scratch("image") as folder, disk_errors("building the image"):
        temporary = f"{BUILDING}:{uuid.uuid4().hex}"
        # An engine takes seconds to remove tens of thousands of files: meanwhile the image can be used.
        with Pool(1) as aside:
            in_engine = contextlib.ExitStack()
            try:
                remember = in_engine.enter_context(unfinished(client, store))
                with stages.measured("build"):
                    context = encode(build_context(recipe, materials.wheels, folder))
                    run_dockerfile(client, context, base.tag, temporary, progress, remember)
                with stages.measured("export"):
                    progress("taking out what the engine built")
                    export_tree(client, temporary, folder / "tree.tar", remember)
                with stages.measured("rewrite"):
                    progress("rewriting it canonically")
                    image = canonical_image(client, temporary, folder / "tree.tar", base, recipe.labels)
            finally:
                aside.submit(in_engine.close)
            yield image


def _base(client: docker.DockerClient, recipe: Recipe, materials: Materials, store: Store, progress: Progress) -> Base:
    if recipe.base_lock is None:
        return registry_base(client, recipe.base, store, progress)
    progress(f"unpacking {recipe.base.name}")
    return build_base(recipe.base.name, recipe.base_lock, materials.packages, store, afresh=True)
