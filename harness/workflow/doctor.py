"""What this machine has and lacks for a certify, measured, with a remedy for each."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import docker

from harness.documents.cuda import cuda_stack
from harness.documents.gpu import HAND_OUT_REMEDY, GpuRequest, check_driver, describe
from harness.errors import HarnessError
from harness.packages.debian import mirrors
from harness.system import engine, gpu, machine
from harness.system.git import read_checkout
from harness.system.project import read_lock
from harness.system.sources import COMPILED

CUDA_LOCK = Path("lockfiles") / "cuda.lock"
Level = Literal["ok", "warning", "missing"]
_NEEDED_DISK_GB, _NEEDED_DISK_GB_OF_CUDA = 8, 30  # while an image is built
_NEEDED_MEMORY_GB = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. `needed` says whether nothing can be certified without it."""

    name: str
    level: Level
    found: str
    remedy: str = ""


def examine(root: Path, cache: Path) -> tuple[Finding, ...]:
    """Look at everything; nothing is changed, and no look ends the others."""
    client: docker.DockerClient | HarnessError
    try:
        client = engine.connect(timeout_s=10)
    except HarnessError as error:
        client = error
    found = (
        _python(),
        _recorder(),
        _git(root),
        _engine(client),
        _runc(client),
        _gpu(root),
        _toolkit(),
        _gpu_access(client),
        _debian(),
    )
    return (*found, _disk(cache), _memory(), _processor())


def _python() -> Finding:
    found = f"Python {platform.python_version()} in {sys.prefix}"
    return Finding(name="python", level="ok", found=found)


def _recorder() -> Finding:
    """Whether the recorder's digest was compiled; without that it is computed with numpy."""
    if COMPILED.is_file():
        return Finding(name="recorder", level="ok", found=f"digests with {COMPILED.name}")
    return Finding(
        name="recorder",
        level="warning",
        found=f"digests with numpy, for there is no {COMPILED.name}: recorded steps take longer",
        remedy="install a C compiler (gcc or clang), then `make -B setup`, or install the harness again",
    )


def _git(root: Path) -> Finding:
    try:
        checkout = read_checkout(root)
    except HarnessError as error:
        return Finding(name="git", level="missing", found=error.problem, remedy=error.remedy)
    state = f"commit {checkout.commit[:12]}"
    if checkout.is_dirty:
        remedy = "commit them: a certificate names a commit"
        found = f"{state}, uncommitted: {checkout.changed[0]} ..."
        return Finding(name="git", level="warning", found=found, remedy=remedy)
    return Finding(name="git", level="ok", found=f"{state}, clean")


def _engine(client: docker.DockerClient | HarnessError) -> Finding:
    if isinstance(client, HarnessError):
        remedy = client.remedy
        if engine.can_install():
            remedy = "`harness certify` will install docker.io from this system's distribution and start it"
        return Finding(name="engine", level="warning", found=client.problem, remedy=remedy)
    try:
        engine.check_init(client)
    except HarnessError as error:
        return Finding(name="engine", level="warning", found=error.problem, remedy=error.remedy)
    found = f"{engine.describe(client)}, API {client.version()['ApiVersion']}"
    return Finding(name="engine", level="ok", found=found)


def _gpu(root: Path) -> Finding:
    """The GPUs and their driver, held against what the CUDA image's lock needs."""
    found = gpu.inventory()
    if found.problem:
        remedy = f"{found.remedy} (CPU experiments need no GPU)"
        return Finding(name="gpu", level="warning", found=found.problem, remedy=remedy)
    shown = f"{describe(found.gpus)}; driver {found.driver}, up to CUDA {found.cuda}"
    try:
        stack = cuda_stack(read_lock(root / CUDA_LOCK)) if (root / CUDA_LOCK).is_file() else None
        if stack is not None and stack.min_driver:
            check_driver(found.driver, stack.min_driver, stack.cuda, "cuda")
            shown += f" ({CUDA_LOCK.name} brings CUDA {stack.cuda}, which needs driver {stack.min_driver})"
    except HarnessError as error:
        return Finding(name="gpu", level="warning", found=f"{shown}; {error.problem}", remedy=error.remedy)
    if not found.gpus:
        return Finding(name="gpu", level="warning", found=shown, remedy="see `nvidia-smi` and the kernel's log")
    return Finding(name="gpu", level="ok", found=shown)


def _toolkit() -> Finding:
    """The NVIDIA Container Toolkit's version; whether it has known holes is a scanner's job."""
    said = gpu.toolkit_version()
    if said is not None:
        return Finding(name="toolkit", level="ok", found=said)
    if gpu.inventory().problem:
        return Finding(name="toolkit", level="ok", found="no NVIDIA Container Toolkit; none is needed without a GPU")
    found = "no NVIDIA Container Toolkit: containers get no GPU"
    return Finding(name="toolkit", level="warning", found=found, remedy=HAND_OUT_REMEDY)


def _runc(client: docker.DockerClient | HarnessError) -> Finding:
    """The version of the runtime under the engine."""
    if isinstance(client, HarnessError):
        return Finding(name="runc", level="ok", found="not checked: no engine is running")
    components = client.version().get("Components") or []
    for component in components:
        if component.get("Name") in ("runc", "OCI Runtime (runc)"):
            # Debian's engine gives the package's version where upstream's gives a commit.
            commit = (component.get("Details") or {}).get("GitCommit") or ""
            said = str(component.get("Version") or "").partition("\n")[0].removeprefix("runc version ")
            version = " ".join(part for part in (said, commit) if part)
            return Finding(name="runc", level="ok", found=f"runc {version or 'of unknown version'}")
    return Finding(name="runc", level="ok", found="the engine names no runc")


def _gpu_access(client: docker.DockerClient | HarnessError) -> Finding:
    """How the engine would give a container the first GPU."""
    gpus = gpu.inventory().gpus
    if not gpus:
        return Finding(name="gpu access", level="ok", found="there is no GPU to give to containers")
    try:
        if isinstance(client, HarnessError):
            raise client
        request = gpu.routed(client, GpuRequest(uuids=(gpus[0].uuid,), chosen_by="doctor"))
    except HarnessError as error:
        return Finding(name="gpu access", level="warning", found=error.problem, remedy=error.remedy)
    found = {
        "cdi": "containers get GPUs through CDI",
        "nvidia": "containers get GPUs through the NVIDIA toolkit's hook",
    }
    return Finding(name="gpu access", level="ok", found=found[request.route or "nvidia"])


def _debian() -> Finding:
    """Where the packages of a bootstrapped base would come from; nobody is asked for them."""
    try:
        places = mirrors(os.environ)
    except HarnessError as error:
        return Finding(name="debian", level="warning", found=error.problem, remedy=error.remedy)
    return Finding(name="debian", level="ok", found=f"packages for images from {', '.join(places)}")


def _disk(cache: Path) -> Finding:
    folder = next(parent for parent in (cache, *cache.parents) if parent.exists())
    if not os.access(folder, os.W_OK):
        remedy = "set HARNESS_CACHE to a folder that can be written; verify, review and diff need none"
        return Finding(name="disk", level="missing", found=f"the cache {cache} cannot be written", remedy=remedy)
    free = shutil.disk_usage(folder).free / 1e9
    needed = _NEEDED_DISK_GB_OF_CUDA if gpu.inventory().gpus else _NEEDED_DISK_GB
    if free < needed:
        remedy = f"free some: a first certificate needs about {needed} GB (HARNESS_CACHE moves the cache)"
        return Finding(name="disk", level="missing", found=f"{free:.1f} GB free", remedy=remedy)
    return Finding(name="disk", level="ok", found=f"{free:.1f} GB free")


def _memory() -> Finding:
    total = machine.memory_bytes() / 1e9
    if total < _NEEDED_MEMORY_GB:
        return Finding(name="memory", level="warning", found=f"{total:.1f} GB", remedy="smollm2 needs about 6 GB")
    return Finding(name="memory", level="ok", found=f"{total:.1f} GB")


def _processor() -> Finding:
    found = f"{machine.cpu_model()}, {os.cpu_count()} cores"
    if platform.machine() != "x86_64":
        remedy = "the locks in this repository are for x86-64: make your own with `harness lock`"
        return Finding(name="processor", level="missing", found=found, remedy=remedy)
    return Finding(name="processor", level="ok", found=found)
