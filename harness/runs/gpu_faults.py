"""What the texts of a GPU's failures mean: a container that did not start, a process whose GPU was lost or full."""

from __future__ import annotations

import re

_NO_DRIVER = ("could not select device driver",)
_NO_DEVICE = ("unresolvable cdi devices", "unknown device", "cdi device injection failed", "no cdi device driver")
_HOOK = (
    "nvidia-container-cli",
    "nvidia-container-runtime-hook",
    "nvidia-cdi-hook",
    "nvidia-ctk",
    "running hook",
    "createcontainer hook",
    "createruntime hook",
    "prestart hook",
)
_LOST = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"failed to initialize NVML",
        r"CUDA (driver )?error: .*(device lost|unspecified launch failure|uncorrectable ECC|hardware stack|not ready)",
        r"CUDA error: (no CUDA-capable device|all CUDA-capable devices are busy|CUDA-capable device.* busy)",
        r"no CUDA GPUs are available|cudaErrorDevicesUnavailable",
        r"GPU is lost|fallen off the bus|NVRM: Xid|\bXid \d+",
    )
)
_OUT_OF_MEMORY = re.compile(r"CUDA out of memory|CUDA error: out of memory|CUDNN_STATUS_ALLOC_FAILED", re.IGNORECASE)
_LAST_LINES = 200


def needs_writable_root(error: str) -> bool:
    """Whether a container did not start because the toolkit's hook could not write into its root.

    The hooks bring the loader's cache up to date and make links in the container's root. Seen as `ldcache error`
    (https://github.com/NVIDIA/nvidia-container-toolkit/issues/147), as `read-only file system` under a
    `createContainer hook` (.../pull/2028) and as `nvidia-cdi-hook` failing below a read-only root
    (https://github.com/kserve/kserve/pull/5711).
    """
    text = error.lower()
    is_hook = any(name in text for name in _HOOK)
    return is_hook and ("read-only file system" in text or "ldcache" in text or "ldconfig" in text)


def explain_start(error: str) -> str | None:
    """Why an engine did not start a GPU container, in words; None if the text says nothing of GPUs."""
    text = error.lower()
    if any(needle in text for needle in _NO_DRIVER):
        return "the engine has no driver for GPUs (could not select device driver)"
    if any(needle in text for needle in _NO_DEVICE):
        return "the engine does not know this GPU (its CDI specification may be older than the driver or the card)"
    if "nvidia-container-cli" in text or any(name in text for name in _HOOK):
        return "the NVIDIA container toolkit failed"
    return None


def fault_in(log: str) -> str | None:
    """Why a process that failed failed for want of its GPU, by the end of its log; None if nothing says so.

    A GPU that is lost or full says nothing about reproducibility. Containers lose GPUs when systemd reloads its units
    (https://github.com/NVIDIA/nvidia-container-toolkit/issues/48); Xid errors are the driver's reports of a fault.
    """
    for line in reversed(log.splitlines()[-_LAST_LINES:]):
        shown = " ".join(line.split())[:200]
        if _OUT_OF_MEMORY.search(line):
            return f"the GPU ran out of memory: {shown}"
        if any(pattern.search(line) for pattern in _LOST):
            return f"the GPU was lost: {shown}"
    return None
