"""The preflight of a replay: looks for everything that it needs at once; fetches, builds and starts nothing.

A source that does not answer within a few seconds counts as unknown.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import docker
from docker.errors import APIError, DockerException
from requests import RequestException

from harness.documents.experiment import Experiment
from harness.documents.inputs import LOCAL, Input
from harness.documents.preflight import Kind, Preflight, PreflightRow, State, preflight_of
from harness.errors import HarnessError
from harness.images.engine_images import find_image
from harness.images.estimate import engine_bytes, engine_disk, installed_bytes, room
from harness.images.image import BuildRecord
from harness.images.recipe import Recipe, read_recipe
from harness.images.registry import registry_key
from harness.packages.lock_export import python_version
from harness.packages.venv import has_venv
from harness.replay.availability import (
    LATE_MIRRORS,
    LATE_PIP,
    LocalSources,
    apt_mirrors,
    base_need,
    input_need,
    local_need,
    wheel_need,
    wheel_sources,
)
from harness.replay.web import NUM_CONNECTIONS
from harness.review.lock_rules import on_base
from harness.runs.request import Request
from harness.system import engine, gpu, machine
from harness.system.deferred_signals import Pool, wait_for

DEADLINE_S = 4.0
_ENGINE_TIMEOUT_S = 4
_REGISTRY_REMEDY = (
    "registries delete old images: set HARNESS_CACHE to a cache that has this base, or obtain the image itself"
)
_ABSENT = ("not found", "manifest unknown", "name unknown", "no such", "does not exist")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightRequest:
    """What is to be trained, from which exported code, and where things may lie on this machine."""

    request: Request
    code: Path
    experiment: Experiment
    local: LocalSources

    @property
    def inputs(self) -> list[Input]:
        """Of the experiment, by name."""
        return [declared.named(name) for name, declared in sorted(self.experiment.inputs.items())]


def preflight(question: PreflightRequest, deadline_s: float = DEADLINE_S) -> Preflight:
    """Look for everything.

    Raises:
        UsageError: the code's image or its locks are malformed.
    """
    began = time.monotonic()
    recipe = read_recipe(question.code, question.experiment.image)
    request = question.request
    client = None if request.runner == "host" or request.engine == "none" else _client()
    in_containers = _is_in_containers(request, client)
    is_built = client is not None and _is_built(client, recipe, question.local)
    is_made = is_built if in_containers else request.python is not None or has_venv(recipe.lock, question.local.store)
    pool = Pool(NUM_CONNECTIONS)
    try:
        tasks = dict(_tasks(question, recipe, client, _Clock(pool, began + deadline_s), is_made=is_made))
        needs = _ask(pool, tasks, began + deadline_s)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if is_built:
        needs.append(
            PreflightRow(kind="base", name=f"image {recipe.name}", state="present", detail="built, in the engine")
        )
    roots = dict.fromkeys((question.code, request.root))
    needs += [local_need(value, question.local, roots) for value in question.inputs if value.kind in LOCAL]
    if in_containers:
        needs += _base_python(recipe)
    needs += [_engine(request, client), _memory(question.experiment), *_gpus(question, recipe, client)]
    builder, made_bytes = (None, 0) if is_made else (client if in_containers else None, installed_bytes(recipe))
    needs += _disks(recipe, question.local, builder, needs, made_bytes)
    return preflight_of(needs, time.monotonic() - began)


_Task = Callable[[], PreflightRow]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Clock:
    """Threads, and the moment until which somebody waits for them."""

    pool: Pool
    deadline: float

    def start(self, work: Callable[[], T], late: T, *, is_needed: bool) -> Callable[[], T]:
        """Begin some work, if it is needed; what it gave, or `late` where it is not done in time."""
        future = self.pool.submit(work) if is_needed else None

        def result() -> T:
            is_done = future is not None and wait_for([future], self.deadline - time.monotonic())
            return future.result() if future is not None and is_done else late

        return result


def _tasks(
    question: PreflightRequest, recipe: Recipe, client: docker.DockerClient | None, clock: _Clock, *, is_made: bool
) -> Iterator[tuple[tuple[Kind, str], _Task]]:
    """What has to be looked for, by kind and name; nothing of what is made already, or of a given interpreter."""
    local, environment = question.local, dict(os.environ)
    inputs = [value for value in question.inputs if value.kind not in LOCAL]
    pins = [pin for pin in recipe.lock.pins if pin.wheel is not None]
    pins = [] if is_made else pins
    is_base_needed = _is_in_containers(question.request, client) and not is_made
    packages = recipe.base_lock.packages if recipe.base_lock is not None and is_base_needed else ()
    needs_pip = any(not local.place_of(pin.wheel.sha256, pin.wheel.size_bytes) for pin in pins if pin.wheel)
    needs_apt = any(not local.place_of(one.sha256, one.size_bytes) for one in packages)
    is_pip_needed, is_apt_needed = needs_pip or _has(inputs, "pypi"), needs_apt or _has(inputs, "deb")
    sources = clock.start(lambda: wheel_sources(environment), LATE_PIP, is_needed=is_pip_needed)
    mirrors = clock.start(lambda: apt_mirrors(environment), LATE_MIRRORS, is_needed=is_apt_needed)
    pip, apt = sources(), mirrors()
    for pin in pins:
        if pin.wheel is not None:
            yield ("wheel", pin.wheel.filename), partial(wheel_need, pin.name, pin.version, pin.wheel, local, pip)
    for package in packages:
        yield ("base", package.name), partial(base_need, package, local, apt)
    if recipe.base_lock is None and is_base_needed:
        yield ("base", recipe.base.name), partial(_registry_base, recipe, local, client)
    for value in inputs:
        yield ("input", value.name), partial(input_need, value, local, pip, apt, environment)


def _has(inputs: Sequence[object], kind: str) -> bool:
    return any(getattr(value, "kind", "") == kind for value in inputs)


def _ask(pool: Pool, tasks: dict[tuple[Kind, str], _Task], deadline: float) -> list[PreflightRow]:
    """Everything at once, until the deadline."""
    futures: dict[tuple[Kind, str], Future[PreflightRow]] = {key: pool.submit(task) for key, task in tasks.items()}
    done = wait_for(futures.values(), deadline - time.monotonic())
    needs = []
    for (kind, name), future in futures.items():
        if future in done:
            needs.append(future.result())
        else:
            remedy = "check the network and ask again"
            needs.append(PreflightRow(kind=kind, name=name, state="unknown", detail="no answer in time", remedy=remedy))
    return needs


def _client() -> docker.DockerClient | None:
    try:
        return engine.connect(timeout_s=_ENGINE_TIMEOUT_S)
    except HarnessError:
        return None


def _is_in_containers(request: Request, client: docker.DockerClient | None) -> bool:
    """Whether an image is needed: an engine answers, is insisted on, or can be started."""
    if request.runner == "host" or request.engine == "none":
        return False
    return client is not None or request.runner == "docker" or engine.can_install()


def _is_built(client: docker.DockerClient, recipe: Recipe, local: LocalSources) -> bool:
    """Whether the engine has the image that an earlier build of this recipe gave."""
    record = local.store.read("images", recipe.key, BuildRecord)
    try:
        found = find_image(client, record.tag) if record else None
    except (DockerException, RequestException):
        return False
    return record is not None and found is not None and found.engine_id == record.engine_id


def _engine(request: Request, client: docker.DockerClient | None) -> PreflightRow:
    if request.runner == "host":
        return PreflightRow(kind="engine", name="runner", state="present", detail="this host: no engine is needed")
    if client is not None:
        version = client.version()
        detail = f"API {version.get('ApiVersion')}"
        return PreflightRow(
            kind="engine", name=f"Docker Engine {version.get('Version')}", state="present", detail=detail
        )
    if request.engine != "none" and engine.can_install():
        detail = "not running; it will be installed from this system's distribution and started"
        return PreflightRow(kind="engine", name="Docker Engine", state="fetchable", detail=detail)
    if request.runner == "docker":
        remedy = "start one, or set DOCKER_HOST; RUNNER=host trains without containers"
        return PreflightRow(kind="engine", name="Docker Engine", state="gone", detail="not running here", remedy=remedy)
    detail = "no engine is running: the training runs on this host, in an environment made from the lock"
    return PreflightRow(kind="engine", name="runner", state="present", detail=detail)


def _memory(experiment: Experiment) -> PreflightRow:
    total = machine.memory_bytes() / (1 << 30)
    detail = f"{total:.1f} GiB; a process may take {experiment.memory_gib:g} GiB"
    if total >= experiment.memory_gib:
        return PreflightRow(kind="memory", name="memory", state="present", detail=detail)
    remedy = "it may need less than its limit: try it, or use a larger machine"
    return PreflightRow(kind="memory", name="memory", state="unknown", detail=detail, remedy=remedy)


def _disks(
    recipe: Recipe,
    local: LocalSources,
    client: docker.DockerClient | None,
    needs: Sequence[PreflightRow],
    made_bytes: int,
) -> list[PreflightRow]:
    """What is fetched and made takes in the cache, and on the disk of an engine that builds, against what is free."""
    wanted = [("cache", local.store.root, sum(need.size_bytes for need in needs) + made_bytes)]
    place = engine_disk(client) if client is not None else None
    if place is not None:
        wanted.append(("engine's disk", place, engine_bytes(recipe)))
    found = []
    rooms = room([(folder, size) for _, folder, size in wanted])
    for (name, _, size), (free, together) in zip(wanted, rooms, strict=True):
        state: State = "present" if free > together else "gone"
        remedy = "free some disk space, or set HARNESS_CACHE to a larger disk" if state == "gone" else ""
        detail = f"{free / 1e9:.1f} GB free, {size / 1e9:.1f} GB needed"
        found.append(PreflightRow(kind="disk", name=name, state=state, detail=detail, remedy=remedy))
    return found


def _gpus(question: PreflightRequest, recipe: Recipe, client: docker.DockerClient | None) -> list[PreflightRow]:
    """The GPUs that a process gets, by a driver that runs the lock's CUDA, and from an engine that hands them out."""
    num, request = question.experiment.gpus, question.request
    if num == 0:
        return []
    found, name = gpu.inventory(), f"{num} GPUs" if num > 1 else "1 GPU"
    lock = recipe.lock if request.python is None else None
    try:
        chosen = gpu.request_gpus(num, recipe.name, lock, request.gpu, found)
        if client is not None:
            gpu.routed(client, chosen)
    except HarnessError as error:
        detail, code = error.problem, error.exit_code
        return [PreflightRow(kind="gpu", name=name, state="gone", detail=detail, remedy=error.remedy, exit_code=code)]
    detail = f"{gpu.in_use(chosen, found)}; driver {found.driver}"
    return [PreflightRow(kind="gpu", name=name, state="present", detail=detail)]


def _base_python(recipe: Recipe) -> list[PreflightRow]:
    """The lock against the Python of its base; what a base of a registry has is seen when it is pulled."""
    name = f"{recipe.name}.lock"
    return [
        PreflightRow(kind="base", name=name, state="gone", detail=one.problem, remedy=one.remedy, exit_code=2)
        for one in on_base(recipe.lock, python_version(recipe.base_lock), recipe.base.name, name)
    ]


def _registry_base(recipe: Recipe, local: LocalSources, client: docker.DockerClient | None) -> PreflightRow:
    """A base from a registry; the engine asks the registry, for it has the credentials."""
    name = recipe.base.pull
    if local.store.read_record("bases", registry_key(recipe.base)):
        return PreflightRow(kind="base", name=name, state="present", detail="in the cache")
    if client is None:
        detail = "the registry was not asked: no engine is running yet"
        return PreflightRow(kind="base", name=name, state="unknown", detail=detail, remedy=_REGISTRY_REMEDY)
    try:
        if find_image(client, name) is not None:
            return PreflightRow(kind="base", name=name, state="present", detail="in the engine")
        client.api.inspect_distribution(name)  # type: ignore[no-untyped-call]
    except APIError as error:
        said = str(error.explanation or error)[:200]
        state: State = "gone" if any(sign in said.lower() for sign in _ABSENT) else "unknown"
        return PreflightRow(kind="base", name=name, state=state, detail=said, remedy=_REGISTRY_REMEDY)
    except (DockerException, RequestException) as error:
        detail = f"the registry was not asked ({type(error).__name__})"
        return PreflightRow(kind="base", name=name, state="unknown", detail=detail, remedy=_REGISTRY_REMEDY)
    return PreflightRow(kind="base", name=name, state="fetchable", detail="in its registry")
