"""GPUs as values: which ones a process gets, and how an engine is asked for them.

Sources: the CUDA C++ Programming Guide on CUDA_VISIBLE_DEVICES (indices, whole or abbreviated UUIDs, an invalid entry
ends the list), the Engine API's version history (`CDISpecDirs` since 1.44, `DiscoveredDevices` since 1.50) and its
device requests, https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.errors import HostError, UsageError

CDI_KIND = "nvidia.com/gpu"
DRIVER_CAPABILITIES = "compute,utility"
Route = Literal["cdi", "nvidia"]
HAND_OUT_REMEDY = (
    "install nvidia-container-toolkit, then `nvidia-ctk runtime configure --runtime=docker` and restart the engine, or "
    "for CDI `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`; RUNNER=host trains without containers"
)
_UUID = re.compile(r"(GPU|MIG)-[0-9A-Za-z/-]{1,80}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as NVML describes it; `used_bytes` of its `memory_bytes` were in use when NVML was asked.

    `capability` is its compute capability, `8.9`; "" where the driver does not say.
    """

    index: int
    uuid: str
    name: str
    memory_bytes: int
    used_bytes: int = 0
    capability: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRequest:
    """The GPUs that every process of one certify gets.

    Attributes:
        uuids: `GPU-...` or `MIG-...`, in the order in which CUDA is to number them.
        chosen_by: `--gpu`, `CUDA_VISIBLE_DEVICES`, or that the least used ones were taken.
        route: how an engine is asked for them; None for a process of the host.
    """

    uuids: tuple[str, ...]
    chosen_by: str
    route: Route | None = None


def choose_gpus(
    num: int, gpus: tuple[Gpu, ...], environment: Mapping[str, str], wanted: str | None = None
) -> GpuRequest:
    """Which GPUs a process gets: those that are named, else those of CUDA_VISIBLE_DEVICES, else the least used.

    `wanted` is what `--gpu` says: UUIDs or NVML indices, separated by commas.

    Raises:
        UsageError: `wanted` names another number of GPUs than the experiment asks for, or none at all.
        HostError: there are too few, or one that is named is not there; what is there is listed.
    """
    if wanted is not None:
        names = [name.strip() for name in wanted.split(",") if name.strip()]
        if len(names) != num:
            problem = f"--gpu names {len(names)} GPUs, and the experiment asks for {num}"
            raise UsageError(problem, "name as many as its key `gpus` says, by UUID or index, separated by commas")
        return GpuRequest(uuids=_named(names, gpus, "--gpu"), chosen_by="--gpu")
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        _check_order(visible, gpus, environment)
        uuids = _visible(visible, gpus)
        if len(uuids) < num:
            shown = f"CUDA_VISIBLE_DEVICES={visible[:200]!r} shows {len(uuids)}"
            problem = f"the experiment asks for {num} GPUs, and {shown}; there are: {describe(gpus)}"
            raise HostError(problem, "unset it, or name them with --gpu")
        return GpuRequest(uuids=uuids[:num], chosen_by="CUDA_VISIBLE_DEVICES")
    if len(gpus) < num:
        problem = f"the experiment asks for {num} GPUs, and this machine has {len(gpus)}: {describe(gpus)}"
        raise HostError(problem, "run it on a machine that has them, or lower its key `gpus`")
    idle = sorted(gpus, key=lambda gpu: (gpu.used_bytes, gpu.index))[:num]
    uuids = tuple(gpu.uuid for gpu in sorted(idle, key=lambda gpu: gpu.index))
    return GpuRequest(uuids=uuids, chosen_by="least memory used")


def describe(gpus: tuple[Gpu, ...]) -> str:
    """The GPUs in one line, for a message."""
    rows = [f"{gpu.index}: {gpu.name} {gpu.uuid} ({gpu.used_bytes >> 20} MiB in use)" for gpu in gpus]
    return ", ".join(rows) or "none"


def route_of(
    runtimes: Collection[str], cdi_devices: frozenset[str], uuids: tuple[str, ...], *, has_hook: bool
) -> Route | None:
    """How an engine hands out these GPUs: by CDI where a specification names them all, else by the toolkit's hook.

    `runtimes` are those that the engine lists; it does not say whether the hook is on this machine.

    Returns:
        None if it hands out none.
    """
    if {f"{CDI_KIND}={uuid}" for uuid in uuids} <= cdi_devices:
        return "cdi"
    if has_hook or "nvidia" in runtimes:
        return "nvidia"
    return None


def discovered_devices(info: Mapping[str, object]) -> frozenset[str]:
    """The CDI devices that an engine says it found: `DiscoveredDevices` of `GET /info`, API 1.50 and newer."""
    listed = info.get("DiscoveredDevices")
    rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
    return frozenset(str(row.get("ID")) for row in rows if row.get("Source", "cdi") == "cdi")


def device_request(request: GpuRequest) -> dict[str, Any]:
    """The fields of the engine's DeviceRequest for these GPUs."""
    if request.route == "cdi":
        return {"driver": "cdi", "device_ids": [f"{CDI_KIND}={uuid}" for uuid in request.uuids]}
    return {"driver": "nvidia", "device_ids": list(request.uuids), "capabilities": [["gpu"]]}


def check_driver(found: str, needed: str, cuda: str, image: str) -> None:
    """Hold the driver against what an image's CUDA needs.

    Raises:
        HostError: it is older, or its version cannot be read.
    """
    if _numbers(found) < _numbers(needed):
        problem = f"the driver is {found or 'unknown'}; CUDA {cuda} of the image {image!r} needs {needed} or newer"
        raise HostError(problem, "update the driver, or lock an older CUDA for this machine")


def _named(names: list[str], gpus: tuple[Gpu, ...], source: str) -> tuple[str, ...]:
    found = []
    for name in names:
        uuid = _one(name, gpus)
        if uuid is None:
            problem = f"{source} names {name[:100]!r}, which is not a GPU of this machine; there are: {describe(gpus)}"
            raise HostError(problem, "name a GPU by its UUID or its index, as `nvidia-smi -L` lists them")
        found.append(uuid)
    if len(set(found)) != len(found):
        raise UsageError(f"{source} names a GPU twice: {', '.join(names)[:200]}", "name each once")
    return tuple(found)


def _one(name: str, gpus: tuple[Gpu, ...]) -> str | None:
    """The UUID that an index, a UUID, or an unambiguous beginning of one stands for.

    MIG devices are not listed here, so their UUIDs are taken as they are.
    """
    if name.isascii() and name.isdigit():
        return next((gpu.uuid for gpu in gpus if gpu.index == int(name)), None) if len(name) < 6 else None
    if not _UUID.fullmatch(name):
        return None
    if name.startswith("MIG-"):
        return name
    matching = [gpu.uuid for gpu in gpus if gpu.uuid.lower().startswith(name.lower())]
    return matching[0] if len(matching) == 1 else None


def _visible(visible: str, gpus: tuple[Gpu, ...]) -> tuple[str, ...]:
    """What CUDA would show of a list: all entries before the first that is not valid."""
    found: list[str] = []
    for name in visible.split(","):
        uuid = _one(name.strip(), gpus)
        if uuid is None:
            break
        found.append(uuid)
    return tuple(dict.fromkeys(found))


def _check_order(visible: str, gpus: tuple[Gpu, ...], environment: Mapping[str, str]) -> None:
    """Refuse an index that could be two GPUs: CUDA numbers the fastest first, NVML by PCI bus."""
    has_index = any(name.strip().isdigit() for name in visible.split(","))
    is_mixed = len({gpu.name for gpu in gpus}) > 1
    if has_index and is_mixed and environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        problem = f"CUDA_VISIBLE_DEVICES={visible[:200]!r} is ambiguous here: the GPUs are of several models"
        raise HostError(
            f"{problem}: {describe(gpus)}", "name them by UUID, or set CUDA_DEVICE_ORDER=PCI_BUS_ID as well"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:4])
