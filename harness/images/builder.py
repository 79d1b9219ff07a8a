"""Building images: locks and a Dockerfile in, one canonical image in the engine out, the same wherever it is built.

What an earlier build of the same key left is used. To show that an image is a function of its locks it is built twice
from nothing, on two engines where that can be done, and the two are compared.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker

from harness.errors import HostError, UsageError
from harness.images.engine_images import LoadedImage, engine_faults, find_image, load_image, save_image
from harness.images.estimate import announce
from harness.images.from_nothing import Materials, Stages, built_from_nothing, fetch
from harness.images.image import BuildResult, FileDifference, RebuildRecord, image_tag
from harness.images.layer import squash
from harness.images.layers import differences
from harness.images.locks import fit
from harness.images.recipe import Recipe, read_recipe
from harness.images.saved_image import CanonicalImage, reread, spool
from harness.images.second_engine import can_start, second_engine
from harness.review.lock_rules import Finding, lint_lock
from harness.system.deferred_signals import Pool, wait_for
from harness.system.engine import connect, identity
from harness.system.store import Progress, Store


@dataclass(frozen=True, slots=True)
class _Build:
    """What one build from nothing gave, when it ended (UTC), how long it took, and which engine did it."""

    image_id: str
    built_at: str
    seconds: float
    engine: str

    @classmethod
    def read(cls, record: dict[str, Any]) -> _Build:
        """The build that an image's record tells of."""
        values = (str(record["image_id"]), str(record["built_at"]), float(record["seconds"]), str(record["engine"]))
        return cls(*values)


def build(
    client: docker.DockerClient,
    name: str,
    root: Path,
    store: Store,
    progress: Progress,
    *,
    check: bool = False,
    other: str = "",
) -> BuildResult:
    """Have the image `name` in the engine: from an earlier build of the same key, or built now.

    Args:
        client: the engine.
        name: the image's name: `images/<name>/Dockerfile` and `lockfiles/<name>.lock`.
        root: the project's root, normally a clean export of a commit.
        store: the cache.
        progress: told in one line what happens.
        check: build it twice from nothing, the second time on another engine if there can be one, and compare; the
            outcome is recorded and in the result's `rebuild`.
        other: the address of an engine for the second build; without it, one is started here where that can be done.

    Raises:
        UsageError: the Dockerfile or a lock is wrong, or a hash does not match.
        HostError: no engine, no disk, no source of packages.
    """
    recipe = read_recipe(root, name)
    with engine_faults():
        if not check and (cached := _cached(client, recipe, store)):
            return cached
        with store.locked(f"image-{name}", lambda: progress(f"waiting: {name} is being built already")):
            if not check and (cached := _cached(client, recipe, store)):
                return cached
            return _build(client, recipe, store, progress, check=check, other=other)


def build_for_certificate(
    client: docker.DockerClient, name: str, root: Path, store: Store, progress: Progress, *, rebuild_required: bool
) -> BuildResult:
    """Like `build`; with `rebuild_required` the result has a record of two builds of this image from nothing.

    A record of this key and id is cited. Where there is none, only what is missing is built: an image that an earlier
    build left is built once more and held against what that build gave.

    Raises:
        UsageError: the Dockerfile or a lock is wrong, or a hash does not match.
        HostError: no engine, no disk, no source of packages.
    """
    recipe = read_recipe(root, name)
    with engine_faults():
        cached = _cached(client, recipe, store)
        if cached and (cached.rebuild or not rebuild_required):
            return cached
        with store.locked(f"image-{name}", lambda: progress(f"waiting: {name} is being built already")):
            cached = _cached(client, recipe, store)
            if cached is None:
                return _build(client, recipe, store, progress, check=rebuild_required, other="")
            if cached.rebuild or not rebuild_required:
                return cached
            earlier = _Build.read(store.read_record("images", recipe.key) or {})
            rebuild = _build_again(client, recipe, store, progress, earlier)
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
            engines=tuple(value["engines"]),
            differences=tuple(FileDifference(**one) for one in value["differences"]),
        )
    except (KeyError, TypeError):
        return None


def _build(
    client: docker.DockerClient, recipe: Recipe, store: Store, progress: Progress, *, check: bool, other: str
) -> BuildResult:
    """Build from nothing, once or twice, and load what the first build gave."""
    has_room = announce(client, recipe, store, progress, check=check)
    stages = Stages()
    with contextlib.ExitStack() as stack:
        with stages.measured("fetch"):
            materials = _materials(client, recipe, store, progress)
        rebuild = None
        if check:
            made = _again(client, recipe, materials, store, progress, other, side_by_side=has_room)
            again = stack.enter_context(made)
        with built_from_nothing(client, recipe, materials, store, progress, stages) as image:
            first = _Build(image.image_id, _now(), stages.total(), _engine_name(client))
            tag = image_tag(recipe.name, image.image_id)
            with stages.measured("load"):
                progress(f"loading {tag}")
                loaded = load_image(client, image, tag)
        if check:
            with stages.measured("waiting for the second build"):
                rebuild = _compare(client, recipe, store, progress, first, again)
    result = _result(recipe, loaded, first.image_id, stages, rebuild)
    if rebuild is None or rebuild.is_identical:
        store.write_record("images", recipe.key, {**_record(result), **dataclasses.asdict(first)})
    return dataclasses.replace(result, rebuild=rebuild or read_rebuild(store, recipe.key, first.image_id))


def _build_again(
    client: docker.DockerClient, recipe: Recipe, store: Store, progress: Progress, first: _Build
) -> RebuildRecord:
    """Build an image that an earlier build left once more, and compare."""
    announce(client, recipe, store, progress, check=False)
    materials = _materials(client, recipe, store, progress)
    with _again(client, recipe, materials, store, progress, "", side_by_side=False) as again:
        return _compare(client, recipe, store, progress, first, again)


_Again = Callable[[], tuple[CanonicalImage, _Build]]


@contextlib.contextmanager
def _again(
    client: docker.DockerClient,
    recipe: Recipe,
    materials: Materials,
    store: Store,
    progress: Progress,
    other: str,
    *,
    side_by_side: bool,
) -> Iterator[_Again]:
    """The second build: on another engine if there can be one, at once if there is room, else when it is asked for."""
    with contextlib.ExitStack() as stack:
        # Leaving stops the engine first, which ends a build on it, and then waits for the thread.
        pool = stack.enter_context(Pool(1))
        contents = stack.enter_context(contextlib.ExitStack())
        second = _second(client, other, stack, store, progress)

        def build_it() -> tuple[CanonicalImage, _Build]:
            stages = Stages()
            tell = _prefixed(progress, "second build: ")
            made = built_from_nothing(second, recipe, materials, store, tell, stages)
            image = contents.enter_context(made)
            return image, _Build(image.image_id, _now(), stages.total(), _engine_name(second))

        if side_by_side and second is not client:
            building = pool.submit(build_it)

            def built() -> tuple[CanonicalImage, _Build]:
                wait_for([building])
                return building.result()

            yield built
        else:
            yield build_it


def _second(
    client: docker.DockerClient, other: str, stack: contextlib.ExitStack, store: Store, progress: Progress
) -> docker.DockerClient:
    """The engine of the second build: the one that is named, one that is started here, or else the first one."""
    if other:
        return stack.enter_context(contextlib.closing(connect(address=other)))
    why = "that takes root, dockerd, and an engine of this machine"
    if can_start():
        try:
            return stack.enter_context(second_engine(store, progress, str(client.info().get("Driver"))))
        except HostError as error:
            why = error.problem
    progress(f"no second engine can be started here ({why}): both builds are on this one")
    return client


def _compare(
    client: docker.DockerClient, recipe: Recipe, store: Store, progress: Progress, first: _Build, again: _Again
) -> RebuildRecord:
    """Hold the second build against the first, whose image the engine has, and record the outcome."""
    progress(f"built: {first.image_id}; held against a second build from nothing")
    image, second = again()
    found: tuple[FileDifference, ...] = ()
    if first.image_id != second.image_id:
        with store.scratch("first") as folder:
            tag = image_tag(recipe.name, first.image_id)
            found = _differences(reread(spool(save_image(client, tag), folder)), image)
    progress(f"built again: {second.image_id}")
    record = RebuildRecord(
        image=recipe.name,
        key=recipe.key,
        image_ids=(first.image_id, second.image_id),
        built_at=(first.built_at, second.built_at),
        seconds=(first.seconds, second.seconds),
        engines=(first.engine, second.engine),
        differences=found,
    )
    store.write_record("rebuilds", recipe.key, {"schema": 1, **dataclasses.asdict(record)})
    return record


def _materials(client: docker.DockerClient, recipe: Recipe, store: Store, progress: Progress) -> Materials:
    """Have what a build needs; before, the lock is held against itself, and afterwards against what its wheels need.

    Raises:
        UsageError: naming what does not go together: somebody edited the lock by hand.
        HostError: something cannot be had.
    """
    source = f"{recipe.name}.lock"
    _refuse(lint_lock(recipe.lock, source))
    materials = fetch(client, recipe, store, progress)
    _refuse(fit(recipe.lock, recipe.base_lock, store, source))
    return materials


def _refuse(findings: tuple[Finding, ...]) -> None:
    if findings:
        told = "\n  ".join(f"{finding.where}: {finding.problem}" for finding in findings[:8])
        raise UsageError(f"the lock does not hold together:\n  {told}", findings[0].remedy)


def _engine_name(client: docker.DockerClient) -> str:
    info = client.info()
    digits = identity(info).removeprefix("sha256:")[:12]
    return f"Docker Engine {info.get('ServerVersion')} ({info.get('Driver')}, {digits})"


def _prefixed(progress: Progress, prefix: str) -> Progress:
    return lambda text: progress(prefix + text)


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
    if not record or not {"image_id", "engine_id", "tag", "built_at", "seconds", "engine"} <= record.keys():
        return None
    found = find_image(client, record["tag"])
    if found is None or found.engine_id != record["engine_id"]:
        return None
    stages = Stages([("look up", round(time.monotonic() - start, 3))])
    result = _result(recipe, found, record["image_id"], stages, None)
    rebuild = read_rebuild(store, recipe.key, record["image_id"])
    return dataclasses.replace(result, was_cached=True, rebuild=rebuild)


def _result(
    recipe: Recipe, loaded: LoadedImage, image_id: str, stages: Stages, rebuild: RebuildRecord | None
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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
