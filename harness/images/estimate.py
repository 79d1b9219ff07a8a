"""What a build will fetch and need, said and checked before it starts."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import docker

from harness.errors import HostError
from harness.images.build_once import Job
from harness.images.recipe import Recipe
from harness.packages.wheels import absent_wheels

_BASE_EXPANSION = 3  # unpacked over packed Debian packages, without documentation
_EXPANSION = 4.5  # installed and compiled over packed wheels, where the lock does not say (PyTorch for a CPU)


def installed_bytes(recipe: Recipe) -> int:
    """What an image's files take, as far as its locks can tell; a build exports as much to the cache."""
    wheels = recipe.lock.installed_bytes or int(recipe.lock.wheels_bytes * _EXPANSION)
    return wheels + _BASE_EXPANSION * recipe.base_bytes


def engine_bytes(recipe: Recipe) -> int:
    """What one build needs on the engine's disk at its worst moment.

    While the Dockerfile runs: the context, its copy as a layer, the installed files, and their copy as a layer. While
    the result is loaded: its archive, its layer, and what was built, which is being removed.
    """
    installed, wheels = installed_bytes(recipe), recipe.lock.wheels_bytes
    return max(2 * wheels + 2 * installed, 3 * installed) + _BASE_EXPANSION * recipe.base_bytes


def peak_disk_bytes(recipe: Recipe) -> int:
    """What a first certify of an image needs in the cache and on the engines' disks together, built twice in turn."""
    return recipe.lock.wheels_bytes + 2 * installed_bytes(recipe) + engine_bytes(recipe)


def announce(job: Job, *, check: bool) -> bool:
    """Say what will be fetched and needed, before anything is.

    Returns:
        Whether there is room for two builds side by side.

    Raises:
        HostError: there is not enough room for one.
    """
    recipe, store = job.recipe, job.store
    packages = recipe.base_lock.packages if recipe.base_lock else ()
    debs = sum(item.size_bytes for item in packages if not store.blob(item.sha256).exists())
    wheels = sum(wheel.size_bytes for wheel in absent_wheels(recipe.lock, store))
    base = f"{len(packages)} Debian packages" if packages else f"base {recipe.base.name} of a registry"
    tree, engine = installed_bytes(recipe), engine_bytes(recipe)
    cache = tree + debs + wheels
    job.progress(
        f"{recipe.name}: {len(recipe.lock.wheels)} wheels ({recipe.lock.wheels_bytes / 1e6:,.0f} MB), {base}; to be "
        f"fetched: {(debs + wheels) / 1e6:,.0f} MB; an image of about {tree / 1e9:.1f} GB; a build "
        f"needs about {cache / 1e9:.1f} GB in the cache and {engine / 1e9:.1f} GB on the engine's disk"
    )
    place = engine_disk(job.client)
    needs = [(store.root, cache)] + ([(place, engine)] if place else [])
    _check(needs, 1)
    try:
        _check([*needs, (store.root, tree + engine)], 1.2)
    except HostError:
        return False
    return check


def engine_disk(client: docker.DockerClient) -> Path | None:
    """The engine's data root, where it lies on this machine."""
    place = Path(client.info().get("DockerRootDir") or "/nonexistent")
    return place if place.is_dir() and not os.environ.get("DOCKER_HOST") else None


def room(needs: Sequence[tuple[Path, int]]) -> list[tuple[int, int]]:
    """For each folder and size what is free on its disk, and what all that goes to that disk takes, in bytes."""
    wanted = Counter[int]()
    for folder, size in needs:
        wanted[folder.stat().st_dev] += size
    return [(shutil.disk_usage(folder).free, wanted[folder.stat().st_dev]) for folder, _ in needs]


def _check(needs: Sequence[tuple[Path, int]], margin: float) -> None:
    """Compare what is needed on each disk with what is free there."""
    for (place, _), (free, size) in zip(needs, room(needs), strict=True):
        if free < size * margin:
            problem = f"the disk of {place} has {free / 1e9:.1f} GB free, {size / 1e9:.1f} GB are needed"
            raise HostError(problem, "free some disk space, or set HARNESS_CACHE to a larger disk")
