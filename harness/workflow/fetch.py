"""Fetch: everything that an experiment needs, in a folder that can be carried to a machine without a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.archive.dependencies import Dependencies
from harness.archive.full import fetch_all
from harness.errors import UsageError
from harness.images.base import copy_base
from harness.images.engine_images import engine_faults
from harness.images.recipe import Recipe, read_recipe
from harness.images.registry import registry_base, registry_key
from harness.system import engine
from harness.system.project import read_experiment
from harness.system.store import Progress, Store, disk_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a folder holds for an experiment."""

    num_files: int
    size_bytes: int


def fetch(root: Path, name: str, output: Path, store: Store, progress: Progress) -> Fetched:
    """Lay packages, wheels, inputs and the base into a folder, laid out like the cache; what is there already stays.

    Raises:
        UsageError: the experiment, a lock or an input is wrong, or the folder is the cache itself.
        HostError: something cannot be had, or the disk is full.
    """
    experiment = read_experiment(root, name)
    recipe = read_recipe(root, experiment.image)
    if output.resolve() == store.root:
        raise UsageError(f"{output} is the cache itself", "give another folder")
    inputs = tuple(declared.named(key) for key, declared in sorted(experiment.inputs.items()))
    wanted = Dependencies(lock=recipe.lock, base_lock=recipe.base_lock, inputs=inputs, image_id=recipe.key)
    digests = sorted(set(fetch_all(wanted, root, store, progress).values()))
    with disk_errors(f"writing {output}"):
        output.mkdir(parents=True, exist_ok=True)
        target = Store(output.resolve(), (store.root, *store.archives))
        progress(f"copying {len(digests)} files to {output}")
        found = [blob for digest in digests if (blob := target.find(digest))]
        if recipe.base_lock is None:
            _bring_base(recipe, store, target, progress)
    return Fetched(num_files=len(found), size_bytes=sum(blob.stat().st_size for blob in found))


def _bring_base(recipe: Recipe, store: Store, target: Store, progress: Progress) -> None:
    """A base of a registry: pulled by the engine, as it is kept in the cache."""
    client = engine.ensure("auto", progress)
    with engine_faults():
        registry_base(client, recipe.base, store, progress)
    copy_base(registry_key(recipe.base), store, target)
