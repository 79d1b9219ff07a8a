"""Building images: locks and a Dockerfile in, one canonical image in the engine out, the same wherever it is built.

An image that an earlier build of the same key left is used. To show that an image is a function of its locks it is
built twice from nothing, on two engines where that can be done, and the two results are compared.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import docker

from harness.errors import HostError
from harness.images.build_once import Job, Materials, Stages, built_from_nothing, fetch
from harness.images.engine_images import LoadedImage, engine_faults, find_image, load_image, save_image
from harness.images.estimate import announce
from harness.images.image import BuildRecord, BuildResult, FileDifference, RebuildRecord, image_tag
from harness.images.layer import squash
from harness.images.layer_tar import differences
from harness.images.leftovers import sweep
from harness.images.locks import fit, refuse
from harness.images.recipe import read_recipe
from harness.images.saved_image import CanonicalImage, reread, spool
from harness.images.second_engine import can_start, second_engine
from harness.review.lock_rules import lint_lock
from harness.system.deferred_signals import Pool, wait_for
from harness.system.engine import connect, describe, identity
from harness.system.store import Progress, Store


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

    With `check` it is built twice from nothing, the second time on another engine if there can be one (at the address
    `other`, or started here), and compared; the outcome is recorded and in the result's `rebuild`.

    Raises:
        UsageError: the Dockerfile or a lock is wrong, or a hash does not match.
        HostError: no engine, no disk, no source of packages.
    """
    job = Job(client, read_recipe(root, name), store, progress)
    with engine_faults():
        sweep(client, store, progress)
        if not check and (cached := _cached(job)):
            return cached
        with _locked(job):
            if not check and (cached := _cached(job)):
                return cached
            return _build(job, check=check, other=other)


def build_for_certificate(
    client: docker.DockerClient, name: str, root: Path, store: Store, progress: Progress, *, rebuild_required: bool
) -> BuildResult:
    """Like `build`; with `rebuild_required` the result has a record of two builds of this image from nothing.

    A record of this key and id is cited. Where there is none, only what is missing is built: an image that an earlier
    build left is built once more and compared with what that build gave.

    Raises:
        UsageError: the Dockerfile or a lock is wrong, or a hash does not match.
        HostError: no engine, no disk, no source of packages.
    """
    job = Job(client, read_recipe(root, name), store, progress)
    with engine_faults():
        sweep(client, store, progress)
        cached = _cached(job)
        if cached and (cached.rebuild or not rebuild_required):
            return cached
        with _locked(job):
            cached = _cached(job)
            if cached is None:
                return _build(job, check=rebuild_required, other="")
            record = read_build(store, job.recipe.key)
            if cached.rebuild or not rebuild_required or record is None:
                return cached
            return cached.model_copy(update={"rebuild": _build_again(job, record)})


def read_build(store: Store, key: str) -> BuildRecord | None:
    """The record of the build of this key, or None."""
    return store.read("images", key, BuildRecord)


def read_rebuild(store: Store, key: str, image_id: str) -> RebuildRecord | None:
    """The record of a double build of this key that gave this id, or None: what a certificate may cite."""
    record = store.read("rebuilds", key, RebuildRecord)
    return record if record and record.key == key and image_id in record.image_ids else None


def _locked(job: Job) -> contextlib.AbstractContextManager[None]:
    name = job.recipe.name
    return job.store.locked(f"image-{name}", lambda: job.progress(f"waiting: another process is building {name}"))


def _build(job: Job, *, check: bool, other: str) -> BuildResult:
    """Build from nothing, once or twice, and load what the first build gave."""
    recipe, stages, rebuild = job.recipe, Stages(), None
    has_room = announce(job, check=check)
    with contextlib.ExitStack() as stack:
        with stages.measured("fetch"):
            materials = _materials(job)
        again = stack.enter_context(_again(job, materials, other, side_by_side=has_room)) if check else None
        with built_from_nothing(job, materials, stages) as image:
            built_at, seconds = _now(), stages.total()
            tag = image_tag(recipe.name, image.image_id)
            with stages.measured("load"):
                job.progress(f"loading {tag}")
                loaded = load_image(job.client, image, tag)
        record = BuildRecord(
            image_id=image.image_id,
            engine_id=loaded.engine_id,
            tag=tag,
            built_at=built_at,
            seconds=seconds,
            engine=_engine_name(job.client),
        )
        if again:
            with stages.measured("waiting for the second build"):
                rebuild = _compare(job, record, again)
    if rebuild is None or rebuild.is_identical:
        job.store.write_record("images", recipe.key, {"schema": 1, **record.to_json()})
    return _result(job, loaded, record, stages, rebuild)


def _build_again(job: Job, first: BuildRecord) -> RebuildRecord:
    announce(job, check=False)
    with _again(job, _materials(job), "", side_by_side=False) as again:
        return _compare(job, first, again)


_Again = Callable[[], tuple[CanonicalImage, BuildRecord]]


@contextlib.contextmanager
def _again(job: Job, materials: Materials, other: str, *, side_by_side: bool) -> Iterator[_Again]:
    """The second build: on another engine if there can be one, at once if there is room, else when it is asked for."""
    with contextlib.ExitStack() as stack:
        # Leaving stops the engine first, which ends a build on it, and then waits for the thread.
        pool = stack.enter_context(Pool(1))
        contents = stack.enter_context(contextlib.ExitStack())
        client = _second(job, other, stack)
        second = replace(job, client=client, progress=lambda text: job.progress(f"second build: {text}"))

        def build_it() -> tuple[CanonicalImage, BuildRecord]:
            stages = Stages()
            image = contents.enter_context(built_from_nothing(second, materials, stages))
            built_at, engine = _now(), _engine_name(client)
            record = BuildRecord(image_id=image.image_id, built_at=built_at, seconds=stages.total(), engine=engine)
            return image, record

        building = pool.submit(build_it) if side_by_side and client is not job.client else None

        def result() -> tuple[CanonicalImage, BuildRecord]:
            if building is None:
                return build_it()
            wait_for([building])
            return building.result()

        yield result


def _second(job: Job, other: str, stack: contextlib.ExitStack) -> docker.DockerClient:
    """The engine of the second build: the one that is named, one that is started here, or else the first one."""
    if other:
        return stack.enter_context(contextlib.closing(connect(address=other)))
    why = "that takes root, dockerd, and an engine of this machine"
    if can_start():
        try:
            driver = str(job.client.info().get("Driver"))
            return stack.enter_context(second_engine(job.store, job.progress, driver))
        except HostError as error:
            why = error.problem
    job.progress(f"no second engine can be started here ({why}): both builds are on this one")
    return job.client


def _compare(job: Job, first: BuildRecord, again: _Again) -> RebuildRecord:
    """Compare the second build with the first, whose image the engine has, and record the outcome."""
    job.progress(f"built: {first.image_id}; comparing it with a second build from nothing")
    image, second = again()
    found: tuple[FileDifference, ...] = ()
    if first.image_id != second.image_id:
        with job.store.scratch("first") as folder:
            tag = image_tag(job.recipe.name, first.image_id)
            found = _differences(reread(spool(save_image(job.client, tag), folder)), image)
    job.progress(f"built again: {second.image_id}")
    builds = (first, second)
    record = RebuildRecord(
        image=job.recipe.name,
        key=job.recipe.key,
        image_ids=tuple(one.image_id for one in builds),
        built_at=tuple(one.built_at for one in builds),
        seconds=tuple(one.seconds for one in builds),
        engines=tuple(one.engine for one in builds),
        differences=found,
    )
    job.store.write_record("rebuilds", job.recipe.key, {"schema": 1, **record.to_json()})
    return record


def _materials(job: Job) -> Materials:
    """Have what a build needs; before, the lock is checked by itself, and afterwards against what its wheels need."""
    recipe, source = job.recipe, f"{job.recipe.name}.lock"
    refuse(lint_lock(recipe.lock, source))
    materials = fetch(job)
    refuse(fit(recipe.lock, recipe.base_lock, job.store, source))
    return materials


def _engine_name(client: docker.DockerClient) -> str:
    digits = identity(client).removeprefix("sha256:")[:12]
    return f"{describe(client)} ({client.info().get('Driver')}, {digits})"


def _differences(first: CanonicalImage, second: CanonicalImage) -> tuple[FileDifference, ...]:
    """Where two builds differ: in files, or else in the configuration."""
    found = differences(*(squash(layer.entries for layer in image.layers) for image in (first, second)))
    if not found and first.config != second.config:
        how = f"{first.config.decode()} and {second.config.decode()}"
        return (FileDifference(path="(configuration)", how=how),)
    return found


def _cached(job: Job) -> BuildResult | None:
    """The result of an earlier build, if the engine still has that image."""
    start = time.monotonic()
    record = read_build(job.store, job.recipe.key)
    found = find_image(job.client, record.tag) if record else None
    if record is None or found is None or found.engine_id != record.engine_id:
        return None
    stages = Stages([("look up", round(time.monotonic() - start, 3))])
    return _result(job, found, record, stages, None, was_cached=True)


def _result(
    job: Job,
    loaded: LoadedImage,
    record: BuildRecord,
    stages: Stages,
    rebuild: RebuildRecord | None,
    *,
    was_cached: bool = False,
) -> BuildResult:
    return BuildResult(
        name=job.recipe.name,
        image_id=record.image_id,
        engine_id=loaded.engine_id,
        tag=image_tag(job.recipe.name, record.image_id),
        key=job.recipe.key,
        size_bytes=loaded.size_bytes,
        seconds=tuple(stages.seconds),
        was_cached=was_cached,
        rebuild=rebuild or read_rebuild(job.store, job.recipe.key, record.image_id),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
