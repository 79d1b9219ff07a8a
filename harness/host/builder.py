"""Building images: locks and a Dockerfile in, one canonical image in the engine out, the same wherever it
is built.

The stages: fetch what the locks name, unpack the base, let the engine run the Dockerfile without a network
and without its cache, save the result, rewrite it canonically, load that. What the engine built on the way
is removed, and so is everything after a failure or Ctrl-C.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker

from harness.core.image import (
    REPOSITORY,
    BuildResult,
    FileDifference,
    RebuildRecord,
    image_tag,
)
from harness.core.layer import squash
from harness.errors import EnvironmentError_
from harness.host.base import build_base
from harness.host.debian import fetch_packages
from harness.host.engine_images import (
    LoadedImage,
    engine_faults,
    find_image,
    load_image,
    remove_images,
    run_dockerfile,
    save_image,
)
from harness.host.layers import differences, encode
from harness.host.recipe import Recipe, build_context, read_recipe
from harness.host.saved_image import CanonicalImage, rewrite, spool
from harness.host.store import Progress, Store, disk_errors
from harness.host.wheels import fetch_wheels, have_wheels

_EXPANSION = 4.5  # installed and compiled size over the size of the wheels (measured: PyTorch for a CPU)
_NUM_COPIES = 4  # of the installed files on the engine's side at the worst moment


@dataclass(slots=True)
class _Stages:
    """How long each stage took."""

    seconds: list[tuple[str, float]] = field(default_factory=list)

    @contextlib.contextmanager
    def measured(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds.append((name, round(time.monotonic() - start, 2)))

    def total(self) -> float:
        return round(sum(seconds for _, seconds in self.seconds), 2)


@dataclass(frozen=True, slots=True)
class _Build:
    """What one build from nothing gave, when it ended (UTC), and how long it took."""

    image_id: str
    built_at: str
    seconds: float

    @classmethod
    def read(cls, record: dict[str, Any]) -> _Build:
        """The build that an image's record tells of."""
        return cls(str(record["image_id"]), str(record["built_at"]), float(record["seconds"]))


def build(
    client: docker.DockerClient, name: str, root: Path, store: Store, progress: Progress, *, check: bool = False
) -> BuildResult:
    """Have the image `name` in the engine: from an earlier build of the same key, or built now.

    Args:
        client: the engine.
        name: the image's name: `images/<name>/Dockerfile` and `lockfiles/<name>.lock`.
        root: the project's root, normally a clean export of a commit.
        store: the cache.
        progress: told in one line what happens.
        check: build it twice from nothing and compare; the outcome is recorded and in the result's `rebuild`.

    Raises:
        UsageError: the Dockerfile or a lock is wrong, or a hash does not match.
        EnvironmentError_: no engine, no disk, no source of packages.
    """
    recipe = read_recipe(root, name)
    with engine_faults():
        if not check and (cached := _cached(client, recipe, store)):
            return cached
        with store.locked(f"image-{name}", lambda: progress(f"waiting: {name} is being built already")):
            if not check and (cached := _cached(client, recipe, store)):
                return cached
            return _build(client, recipe, store, progress, check=check)


def build_for_certificate(
    client: docker.DockerClient, name: str, root: Path, store: Store, progress: Progress, *, rebuild_required: bool
) -> BuildResult:
    """Like `build`; with `rebuild_required` the result has a record of two builds of this image from nothing.

    A record of this key and id is cited. Where there is none, only what is missing is built: an image that an earlier
    build left is built once more and held against what that build gave.

    Raises:
        UsageError: the Dockerfile or a lock is wrong, or a hash does not match.
        EnvironmentError_: no engine, no disk, no source of packages.
    """
    recipe = read_recipe(root, name)
    with engine_faults():
        cached = _cached(client, recipe, store)
        if cached and (cached.rebuild or not rebuild_required):
            return cached
        with store.locked(f"image-{name}", lambda: progress(f"waiting: {name} is being built already")):
            cached = _cached(client, recipe, store)
            if cached is None:
                return _build(client, recipe, store, progress, check=rebuild_required)
            if cached.rebuild or not rebuild_required:
                return cached
            _announce(recipe, store, progress)
            earlier = _Build.read(store.read_record("images", recipe.key) or {})
            rebuild = _check(client, recipe, store, progress, earlier, None)
            return dataclasses.replace(cached, rebuild=rebuild)


def read_rebuild(store: Store, key: str, image_id: str) -> RebuildRecord | None:
    """The record of a double build of this key that gave this id, or None: what a certificate may cite."""
    value = store.read_record("rebuilds", key)
    try:
        if value is None or value["key"] != key or image_id not in value["image_ids"]:
            return None
        return RebuildRecord(
            image=value["image"],
            key=key,
            image_ids=tuple(value["image_ids"]),
            built_at=tuple(value["built_at"]),
            seconds=tuple(value["seconds"]),
            differences=tuple(FileDifference(**one) for one in value["differences"]),
        )
    except (KeyError, TypeError):
        return None


@contextlib.contextmanager
def _built(
    client: docker.DockerClient, recipe: Recipe, store: Store, progress: Progress, stages: _Stages
) -> Iterator[CanonicalImage]:
    """One build from nothing. The image's contents lie in a scratch folder and are gone when this ends."""
    with stages.measured("fetch"):
        packages = fetch_packages(recipe.base_lock.packages, store, os.environ, progress)
        wheels = fetch_wheels(recipe.lock, store, progress)
    with stages.measured("base"):
        progress(f"unpacking {recipe.base_name}")
        base = build_base(recipe.base_name, recipe.base_lock, packages, store, afresh=True)
        load_image(client, base.image, base.tag)
    with store.scratch("image") as folder, disk_errors("building the image"):
        temporary = f"{REPOSITORY}/building:{uuid.uuid4().hex}"
        try:
            with stages.measured("build"):
                context = encode(build_context(recipe, wheels, folder))
                run_dockerfile(client, context, base.tag, temporary, progress)
            with stages.measured("save"):
                progress("saving what the engine built")
                saved = spool(save_image(client, temporary), folder)
        finally:
            remove_images(client, [temporary])
        with stages.measured("rewrite"):
            progress("rewriting it canonically")
            image = rewrite(saved, {layer.digest: layer for layer in base.image.layers})
        yield image


def _build(
    client: docker.DockerClient, recipe: Recipe, store: Store, progress: Progress, *, check: bool
) -> BuildResult:
    """Build once or twice, and load the first build's image."""
    _announce(recipe, store, progress)
    stages = _Stages()
    with _built(client, recipe, store, progress, stages) as image:
        first = _Build(image.image_id, _now(), stages.total())
        rebuild = _check(client, recipe, store, progress, first, image) if check else None
        tag = image_tag(recipe.name, image.image_id)
        with stages.measured("load"):
            progress(f"loading {tag}")
            loaded = load_image(client, image, tag)
    result = _result(recipe, loaded, image.image_id, stages, rebuild)
    if rebuild is None or rebuild.is_identical:
        store.write_record("images", recipe.key, {**_record(result), **dataclasses.asdict(first)})
    return dataclasses.replace(result, rebuild=rebuild or read_rebuild(store, recipe.key, image.image_id))


def _check(
    client: docker.DockerClient,
    recipe: Recipe,
    store: Store,
    progress: Progress,
    first: _Build,
    image: CanonicalImage | None,
) -> RebuildRecord:
    """Build once more from nothing, compare, and record the outcome; `image` is None if the engine has the first."""
    progress(f"built: {first.image_id}; building {recipe.name} again from nothing")
    stages = _Stages()
    with _built(client, recipe, store, progress, stages) as again:
        second = _Build(again.image_id, _now(), stages.total())
        found: tuple[FileDifference, ...] = ()
        if first.image_id != second.image_id:
            with store.scratch("first") as folder:
                tag = image_tag(recipe.name, first.image_id)
                found = _differences(image or rewrite(spool(save_image(client, tag), folder), {}), again)
    progress(f"built again: {second.image_id}")
    record = RebuildRecord(
        image=recipe.name,
        key=recipe.key,
        image_ids=(first.image_id, second.image_id),
        built_at=(first.built_at, second.built_at),
        seconds=(first.seconds, second.seconds),
        differences=found,
    )
    store.write_record("rebuilds", recipe.key, {"schema": 1, **dataclasses.asdict(record)})
    return record


def _differences(first: CanonicalImage, second: CanonicalImage) -> tuple[FileDifference, ...]:
    """Where two builds differ: in files, or else in the configuration."""
    found = differences(*(squash(layer.entries for layer in image.layers) for image in (first, second)))
    if not found and first.config != second.config:
        how = f"{first.config.decode()} and {second.config.decode()}"
        return (FileDifference(path="(configuration)", how=how),)
    return found


def _cached(client: docker.DockerClient, recipe: Recipe, store: Store) -> BuildResult | None:
    """The result of an earlier build, if the engine still has that image."""
    start = time.monotonic()
    record = store.read_record("images", recipe.key)
    if not record or not {"image_id", "engine_id", "tag", "built_at", "seconds"} <= record.keys():
        return None
    found = find_image(client, record["tag"])
    if found is None or found.engine_id != record["engine_id"]:
        return None
    stages = _Stages([("look up", round(time.monotonic() - start, 3))])
    result = _result(recipe, found, record["image_id"], stages, None)
    rebuild = read_rebuild(store, recipe.key, record["image_id"])
    return dataclasses.replace(result, was_cached=True, rebuild=rebuild)


def _result(
    recipe: Recipe, loaded: LoadedImage, image_id: str, stages: _Stages, rebuild: RebuildRecord | None
) -> BuildResult:
    return BuildResult(
        name=recipe.name,
        image_id=image_id,
        engine_id=loaded.engine_id,
        tag=image_tag(recipe.name, image_id),
        key=recipe.key,
        size_bytes=loaded.size_bytes,
        seconds=tuple(stages.seconds),
        was_cached=False,
        rebuild=rebuild,
    )


def _record(result: BuildResult) -> dict[str, Any]:
    return {"schema": 1, "image_id": result.image_id, "engine_id": result.engine_id, "tag": result.tag}


def installed_bytes(recipe: Recipe) -> int:
    """What an image's files take when they are unpacked, as far as its locks can tell."""
    return int(recipe.lock.wheels_bytes * _EXPANSION) + 3 * recipe.base_lock.size_bytes


def peak_disk_bytes(recipe: Recipe) -> int:
    """What a build needs at its worst moment, in the cache and on the engine's side together."""
    return (1 + _NUM_COPIES) * installed_bytes(recipe)


def _announce(recipe: Recipe, store: Store, progress: Progress) -> None:
    """Say what will be fetched and needed, before anything is.

    Raises:
        EnvironmentError_: the cache's disk has not enough room.
    """
    packages = recipe.base_lock.packages
    absent = sum(item.size_bytes for item in packages if not store.blob(item.sha256).exists())
    absent += 0 if have_wheels(recipe.lock, store) else recipe.lock.wheels_bytes
    installed = installed_bytes(recipe)
    progress(
        f"{recipe.name}: {len(recipe.lock.pins)} wheels ({recipe.lock.wheels_bytes / 1e6:.0f} MB) and {len(packages)} "
        f"Debian packages ({recipe.base_lock.size_bytes / 1e6:.0f} MB), of which {absent / 1e6:.0f} MB are to be "
        f"fetched; needs about {installed / 1e9:.1f} GB in the cache and {_NUM_COPIES * installed / 1e9:.1f} GB on "
        "the engine's disk while it builds"
    )
    free = shutil.disk_usage(store.root).free
    if free < installed + absent:
        problem = f"{store.root} has {free / 1e9:.1f} GB free, {(installed + absent) / 1e9:.1f} GB are needed"
        raise EnvironmentError_(problem, "free some disk space, or set HARNESS_CACHE to a larger disk")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
