"""What this machine can do, measured; and the remedy for the rest."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.errors import HarnessError
from harness.host import engine
from harness.host.git import read_checkout

Level = Literal["ok", "warning", "missing"]
_NEEDED_DISK_GB = 8
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
    looks: tuple[Callable[[], Finding], ...] = (
        _python,
        lambda: _git(root),
        _engine,
        _gpu,
        lambda: _disk(cache),
        _memory,
        _processor,
    )
    return tuple(look() for look in looks)


def host_facts() -> dict[str, Any]:
    """The machine, for the manifest: CPU model, memory, system, and the GPUs with their driver."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "system": _system(),
        "gpus": gpus(),
    }


def gpus() -> list[dict[str, Any]]:
    """The NVIDIA GPUs by NVML: model, UUID, memory, driver and the CUDA version it supports; empty without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        driver = pynvml.nvmlSystemGetDriverVersion()
        cuda = pynvml.nvmlSystemGetCudaDriverVersion()
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            found.append(
                {
                    "name": pynvml.nvmlDeviceGetName(handle),
                    "uuid": pynvml.nvmlDeviceGetUUID(handle),
                    "memory_bytes": int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
                    "driver": driver,
                    "cuda": f"{cuda // 1000}.{cuda % 1000 // 10}",
                }
            )
        return found
    finally:
        pynvml.nvmlShutdown()


def _python() -> Finding:
    found = f"Python {platform.python_version()} in {sys.prefix}"
    return Finding(name="python", level="ok", found=found)


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


def _engine() -> Finding:
    try:
        version = engine.connect(timeout_s=10).version()
    except HarnessError as error:
        if engine.can_install():
            remedy = "`make certify` will install docker.io from this system's distribution and start it"
            return Finding(name="engine", level="warning", found=error.problem, remedy=remedy)
        return Finding(name="engine", level="warning", found=error.problem, remedy=error.remedy)
    return Finding(name="engine", level="ok", found=f"Docker Engine {version['Version']}, API {version['ApiVersion']}")


def _gpu() -> Finding:
    found = gpus()
    if not found:
        return Finding(
            name="gpu",
            level="warning",
            found="no NVIDIA driver answers",
            remedy="CPU experiments need none; for the others install the driver and nvidia-container-toolkit",
        )
    return Finding(name="gpu", level="ok", found=", ".join(f"{gpu['name']} (driver {gpu['driver']})" for gpu in found))


def _disk(cache: Path) -> Finding:
    folder = next(parent for parent in (cache, *cache.parents) if parent.exists())
    free = shutil.disk_usage(folder).free / 1e9
    if free < _NEEDED_DISK_GB:
        remedy = f"free some: a first certificate needs about {_NEEDED_DISK_GB} GB (HARNESS_CACHE moves the cache)"
        return Finding(name="disk", level="missing", found=f"{free:.1f} GB free", remedy=remedy)
    return Finding(name="disk", level="ok", found=f"{free:.1f} GB free")


def _memory() -> Finding:
    total = _memory_bytes() / 1e9
    if total < _NEEDED_MEMORY_GB:
        return Finding(name="memory", level="warning", found=f"{total:.1f} GB", remedy="smollm2 needs about 6 GB")
    return Finding(name="memory", level="ok", found=f"{total:.1f} GB")


def _processor() -> Finding:
    found = f"{_cpu_model()}, {os.cpu_count()} cores"
    if platform.machine() != "x86_64":
        remedy = "the locks in this repository are for x86-64: make your own with `harness lock`"
        return Finding(name="processor", level="missing", found=found, remedy=remedy)
    return Finding(name="processor", level="ok", found=found)


def _cpu_model() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _system() -> str:
    for line in _read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
