"""The GPUs of this machine by NVML, and the preflight: driver, engine, and a first process that sees what it was given.

NVML is asked on this machine, so the engine has to be this machine's too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import yaml
from docker.errors import DockerException

from harness.documents.cuda import cuda_stack
from harness.documents.gpu import (
    CDI_KIND,
    HAND_OUT_REMEDY,
    Gpu,
    GpuRequest,
    check_driver,
    choose_gpus,
    describe,
    discovered_devices,
    route_of,
)
from harness.documents.lockfile import Lockfile
from harness.errors import HostError, UsageError

HOOK = "nvidia-container-runtime-hook"
_MAX_SPEC_BYTES = 4 << 20
_MAX_SPECS = 64
NO_DRIVER = "install NVIDIA's driver; experiments without the key `gpus` need none"
_REMEDIES = {
    "NVMLError_LibraryNotFound": NO_DRIVER,
    "NVMLError_DriverNotLoaded": "load the driver (`modprobe nvidia`), or install it for the running kernel",
    "NVMLError_LibRmVersionMismatch": "the driver was updated while it ran: restart the machine",
    "NVMLError_NoPermission": "the user needs access to /dev/nvidiactl",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What NVML says; `problem` and `remedy` say why there is nothing, `driver` and `cuda` are "" then."""

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    cuda: str = ""
    problem: str = ""
    remedy: str = ""

    def to_json(self) -> list[dict[str, Any]]:
        """The GPUs for the manifest: model, UUID, memory, compute capability, driver and the CUDA that it supports."""
        return [
            {
                "name": gpu.name,
                "uuid": gpu.uuid,
                "memory_bytes": gpu.memory_bytes,
                "driver": self.driver,
                "cuda": self.cuda,
                **({"compute_capability": gpu.capability} if gpu.capability else {}),
            }
            for gpu in self.gpus
        ]


def inventory() -> Inventory:
    """The NVIDIA GPUs of this machine and their driver. MIG devices are not listed."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        remedy = _REMEDIES.get(type(error).__name__, NO_DRIVER)
        return Inventory(problem=f"no NVIDIA driver answers ({error})", remedy=remedy)
    try:
        cuda = pynvml.nvmlSystemGetCudaDriverVersion()
        return Inventory(
            gpus=tuple(_gpus(pynvml)),
            driver=str(pynvml.nvmlSystemGetDriverVersion()),
            cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
        )
    except pynvml.NVMLError as error:
        return Inventory(problem=f"the NVIDIA driver answers with an error ({error})", remedy="restart the machine")
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _gpus(pynvml: Any) -> Iterator[Gpu]:
    for index in range(pynvml.nvmlDeviceGetCount()):
        with contextlib.suppress(pynvml.NVMLError_GpuIsLost):  # one that fell off the bus is not there
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            yield Gpu(
                index=index,
                uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
                name=str(pynvml.nvmlDeviceGetName(handle)),
                memory_bytes=int(memory.total),
                used_bytes=int(memory.used),
                capability=_capability(pynvml, handle),
            )


def _capability(pynvml: Any, handle: Any) -> str:
    try:
        return ".".join(str(part) for part in pynvml.nvmlDeviceGetCudaComputeCapability(handle))
    except pynvml.NVMLError:
        return ""


def request_gpus(num: int, image: str, lock: Lockfile | None, wanted: str | None, found: Inventory) -> GpuRequest:
    """Choose the GPUs of a certify, before anything long begins.

    `lock` is what the image is made of; None where an interpreter was given, which has a CUDA of its own.

    Raises:
        UsageError: the image has no CUDA, or `wanted` does not fit.
        HostError: there is no driver, it is too old, or there are too few GPUs.
    """
    stack = None if lock is None else cuda_stack(lock)
    if lock is not None and stack is None:
        remedy = "set `image: cuda`, or leave `gpus` out"
        raise UsageError(f"the experiment asks for {num} GPUs, and its image {image!r} has no CUDA", remedy)
    if found.problem:
        raise HostError(f"the experiment asks for {num} GPUs: {found.problem}", found.remedy)
    if stack is not None and stack.min_driver:
        check_driver(found.driver, stack.min_driver, stack.cuda, image)
    return choose_gpus(num, found.gpus, os.environ, wanted)


def routed(client: docker.DockerClient, request: GpuRequest) -> GpuRequest:
    """The same request with the way in which this engine hands out those GPUs.

    Raises:
        HostError: it hands out none, with what has to be installed.
    """
    try:
        info = client.info()
    except (DockerException, OSError) as error:
        raise HostError(f"the engine does not answer: {error}", "start it again") from error
    devices = cdi_devices(info)
    route = route_of(info.get("Runtimes") or {}, devices, request.uuids, has_hook=hook_path() is not None)
    if route is not None:
        return dataclasses.replace(request, route=route)
    known = sorted(name for name in devices if name.startswith(f"{CDI_KIND}="))
    if known:
        problem = f"the engine's CDI specifications name {', '.join(known[:8])}, and not {', '.join(request.uuids)}"
        remedy = "`nvidia-ctk cdi generate --device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml`"
        raise HostError(problem, remedy)
    problem = "the engine cannot hand out GPUs: it has neither a CDI specification of them nor the NVIDIA runtime"
    raise HostError(problem, HAND_OUT_REMEDY)


def cdi_devices(info: Mapping[str, object]) -> frozenset[str]:
    """The CDI devices that an engine can hand out: those it lists, or those of the specifications it reads.

    Engines from API 1.50 on list them; from 1.44 on they name the folders, if CDI is switched on at all.
    """
    if "DiscoveredDevices" in info:
        return discovered_devices(info)
    names: set[str] = set()
    folders = info.get("CDISpecDirs")
    for folder in folders if isinstance(folders, list) else ():
        with contextlib.suppress(OSError):
            for path in sorted(Path(str(folder)).iterdir())[:_MAX_SPECS]:
                names |= _devices_of(path)
    return frozenset(names)


def _devices_of(path: Path) -> set[str]:
    """The qualified names in one CDI specification; none in a file that is not one."""
    if path.suffix not in {".yaml", ".yml", ".json"} or path.stat().st_size > _MAX_SPEC_BYTES:
        return set()
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return set()
    if not isinstance(value, dict) or not isinstance(value.get("devices"), list):
        return set()
    rows = [row for row in value["devices"] if isinstance(row, dict) and row.get("name")]
    return {f"{value.get('kind')}={row['name']}" for row in rows}


def hook_path() -> str | None:
    """Where the toolkit's hook lies; the engine looks for it on its own PATH."""
    return shutil.which(HOOK, path=f"{os.environ.get('PATH', '')}:/usr/bin:/usr/local/bin")


def toolkit_version() -> str | None:
    """What the NVIDIA Container Toolkit of this machine says of its version, or None where there is none."""
    for program in ("nvidia-ctk", "nvidia-container-cli"):
        if shutil.which(program) is None:
            continue
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(
                [program, "--version"], capture_output=True, text=True, errors="replace", timeout=10, check=False
            )
            lines = [line.strip() for line in done.stdout.splitlines() if "version" in line.lower()]
            if lines:
                return lines[0][:200]
    return None


def in_use(request: GpuRequest, found: Inventory) -> str:
    """The chosen GPUs with what is in use of their memory, for the console."""
    return describe(tuple(gpu for gpu in found.gpus if gpu.uuid in request.uuids)) or ", ".join(request.uuids)
