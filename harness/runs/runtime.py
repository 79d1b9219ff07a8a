"""Sets up where trainings run: containers of the built image or an interpreter of this machine, and their GPUs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from harness.documents.environment import EnvironmentFacts
from harness.documents.gpu import GpuRequest
from harness.errors import HostError
from harness.images.builder import build_for_certificate
from harness.judge.verdict_inputs import Rebuild
from harness.packages.venv import host_python
from harness.runs.container import ContainerSandbox
from harness.runs.gpu_preflight import check_seen
from harness.runs.host import HostSandbox
from harness.runs.sandbox import Sandbox
from harness.system import engine, gpu
from harness.system.project import STOCK, read_lock
from harness.system.store import Store, file_digest

Runner = Literal["auto", "docker", "host"]


class Reporter(Protocol):
    """Is told of stages and of what a person should look at."""

    def stage(self, name: str, detail: str) -> AbstractContextManager[None]:
        """A stage begins; leaving the context ends it."""

    def note(self, text: str) -> None:
        """Something worth knowing."""

    def warn(self, text: str) -> None:
        """Something that a person should look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeRequest:
    """What trainings need to run.

    Attributes:
        root: the project's checkout.
        image: the name of an image and of its lock.
        num_gpus: how many a process gets.
        gpu: which, as `--gpu` names them.
        python: an interpreter that somebody gave; it goes with the runner `host`.
        is_rebuild_required: whether the image has to be shown to be built the same twice.
    """

    root: Path
    image: str
    num_gpus: int
    runner: Runner
    engine: engine.Wanted
    gpu: str | None
    python: Path | None
    is_rebuild_required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A sandbox with what verdict and manifest say about it.

    Attributes:
        image_id: names everything that processes find around the code; caches are keyed by it.
        facts: of the image, for the manifest.
        gpus: the UUIDs that every process gets.
        gpu: how they were chosen and are handed out, for the manifest.
        environment: without a container, the interpreter and its difference to the lock.
    """

    sandbox: Sandbox
    image_id: str
    facts: dict[str, object]
    rebuild: Rebuild | None = None
    gpus: tuple[str, ...] = ()
    gpu: dict[str, object] = field(default_factory=dict)
    environment: EnvironmentFacts | None = None


def make_runtime(request: RuntimeRequest, store: Store, reporter: Reporter) -> Runtime:
    """Containers of the built image, or, where no engine can be had and none was asked for, the host.

    Raises:
        UsageError: the request contradicts itself, or what it names is malformed.
        HostError: this machine lacks an engine, a driver, a GPU, disk, or a source of packages.
    """
    gpus = _choose_gpus(request, reporter)
    if request.runner == "host":
        why = "RUNNER=host was asked for" if request.python is None else "an interpreter was given"
        return _on_the_host(request, gpus, why, store, reporter)
    try:
        client = engine.ensure(request.engine, reporter.note, is_offline=store.is_offline)
    except HostError as error:
        if request.runner == "docker":
            raise
        reporter.warn(f"{error.problem}: certifying WITHOUT containers, on this host; the verdict says so")
        return _on_the_host(request, gpus, error.problem, store, reporter)
    engine.check_init(client)
    gpus = None if gpus is None else gpu.routed(client, gpus)
    with reporter.stage("image", f"{request.image}: locked base, locked wheels, no network"):
        built = build_for_certificate(
            client, request.image, request.root, store, reporter.note, rebuild_required=request.is_rebuild_required
        )
    facts = {
        "engine": engine.describe(client),
        "name": request.image,
        "id": built.image_id,
        "key": built.key,
        "size_bytes": built.size_bytes,
    }
    sandbox = ContainerSandbox(
        built.engine_id, gpus, users=engine.user_namespace(client), profile_form=engine.profile_form(client)
    )
    client.close()
    return Runtime(
        sandbox=sandbox,
        image_id=built.image_id,
        facts={**facts, "locks": _locks(request.root)},
        rebuild=Rebuild(image_ids=built.rebuild.image_ids, source=built.rebuild.summary) if built.rebuild else None,
        gpus=gpus.uuids if gpus else (),
        gpu=_check_gpus(sandbox, gpus, reporter),
    )


def _on_the_host(
    request: RuntimeRequest, gpus: GpuRequest | None, why: str, store: Store, reporter: Reporter
) -> Runtime:
    lock = _lock_path(request)
    made = f"a virtual environment from {lock.name}"
    with reporter.stage(
        "environment", made if request.python is None else f"{request.python}, compared with {lock.name}"
    ):
        python = host_python(lock, request.python, store, reporter.note)
    if not python.facts.is_locked:
        reporter.warn(f"{python.facts.sentence()}; the verdict says so")
    sandbox = HostSandbox(python.path, gpus)
    return Runtime(
        sandbox=sandbox,
        image_id=f"host:{python.identity}",
        facts={"name": None, "id": None, "why_no_container": why, "locks": _locks(request.root)},
        gpus=gpus.uuids if gpus else (),
        gpu=_check_gpus(sandbox, gpus, reporter),
        environment=python.facts,
    )


def _choose_gpus(request: RuntimeRequest, reporter: Reporter) -> GpuRequest | None:
    """The GPUs that processes get, before anything long begins."""
    if request.num_gpus == 0:
        return None
    with reporter.stage("gpu", f"{request.num_gpus} asked for: driver, CUDA of the image {request.image}, choice"):
        found = gpu.inventory()
        lock = read_lock(_lock_path(request)) if request.python is None else None
        chosen = gpu.request_gpus(request.num_gpus, request.image, lock, request.gpu, found)
        reporter.note(f"{gpu.in_use(chosen, found)}; chosen by: {chosen.chosen_by}")
    return chosen


def _check_gpus(sandbox: Sandbox, gpus: GpuRequest | None, reporter: Reporter) -> dict[str, object]:
    """Start one process as the runs will be, and see that it sees its GPUs; what the manifest says of them."""
    if gpus is None:
        return {}
    with reporter.stage("gpu check", f"a process sees {', '.join(gpus.uuids)} and no other"):
        if fallback := check_seen(sandbox, gpus):
            reporter.warn(f"the runs have {fallback}; the verdict says so")
    how = {"uuids": list(gpus.uuids), "chosen_by": gpus.chosen_by, "route": gpus.route or "CUDA_VISIBLE_DEVICES"}
    return {**how, "toolkit": gpu.toolkit_version() if gpus.route else None}


def _lock_path(request: RuntimeRequest) -> Path:
    return request.root / "lockfiles" / f"{request.image}.lock"


def _locks(root: Path) -> dict[str, str]:
    """Every lock of the code, and of ours those that it has none of that name of."""
    found = {path.name: path for folder in (STOCK, root / "lockfiles") for path in folder.glob("*.lock")}
    return {name: file_digest(path) for name, path in sorted(found.items())}
