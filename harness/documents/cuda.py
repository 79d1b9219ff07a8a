"""CUDA in a lock: which toolkit the wheels bring, and which driver that asks for.

PyTorch's CUDA builds take the toolkit from NVIDIA's wheels (`nvidia-cuda-runtime`, `nvidia-cudnn-cu13` ...), so the
only part of CUDA that a machine has to have is the kernel's driver. Up to CUDA 12 each of those wheels carries CUDA's
major version in its name; from CUDA 13 on those of the toolkit itself no longer do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.documents.lockfile import Lockfile, Pin

MIN_LINUX_DRIVER = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
"""The least Linux driver by CUDA's major version; every minor version of it runs with that one.

Sources: NVIDIA, CUDA Toolkit Release Notes, "CUDA Toolkit and Minimum Required Driver Version for CUDA Minor Version
Compatibility" and "CUDA Toolkit and Corresponding Driver Versions" (13.0 GA); NVIDIA, CUDA Compatibility, "Minor
Version Compatibility", table 1: 13.x from driver 580 on, 12.x from 525, 11.x from 450.
"""

_SUFFIX = re.compile(r"(.+)-cu([1-9][0-9])")
_LABEL = re.compile(r"cu([0-9]{2})([0-9])")
_VERSIONED_AS_CUDA = {
    "cuda-bindings",
    "cuda-toolkit",
    "nvidia-cublas",
    "nvidia-cuda-cccl",
    "nvidia-cuda-crt",
    "nvidia-cuda-cupti",
    "nvidia-cuda-nvcc",
    "nvidia-cuda-nvrtc",
    "nvidia-cuda-runtime",
    "nvidia-nvjitlink",
    "nvidia-nvtx",
    "nvidia-nvvm",
}
_VERSIONED_APART = {
    "nvidia-cudnn",
    "nvidia-cufft",
    "nvidia-cufile",
    "nvidia-curand",
    "nvidia-cusolver",
    "nvidia-cusparse",
    "nvidia-cusparselt",
    "nvidia-nccl",
    "nvidia-nvshmem",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaStack:
    """What a lock says about CUDA; "" where it does not say.

    Attributes:
        cuda: the toolkit's major and minor version, `13.0`.
        cudnn: cuDNN's version.
        torch: torch's version, with its local label.
        min_driver: the least Linux driver; "" for a CUDA that this table does not know.
    """

    cuda: str
    cudnn: str
    torch: str
    min_driver: str


def cuda_stack(lock: Lockfile) -> CudaStack | None:
    """The CUDA that a lock brings, or None where it brings none (torch for a CPU, no torch at all)."""
    versions = {_stem(pin.name): pin.version for pin in lock.pins}
    torch = versions.get("torch", "")
    label = torch_label_cuda(torch)
    if not cuda_parts(lock) and not label:
        return None
    cuda = runtime_cuda(lock) or label
    major = int(cuda.partition(".")[0]) if cuda else 0
    return CudaStack(
        cuda=cuda,
        cudnn=versions.get("nvidia-cudnn", ""),
        torch=torch,
        min_driver=MIN_LINUX_DRIVER.get(major, ""),
    )


def cuda_parts(lock: Lockfile) -> tuple[Pin, ...]:
    """The distributions that are parts of CUDA; `nvidia-ml-py`, which only asks the driver, is none."""
    names = _VERSIONED_AS_CUDA | _VERSIONED_APART
    return tuple(pin for pin in lock.pins if _stem(pin.name) in names)


def cuda_major(pin: Pin) -> int | None:
    """CUDA's major version that a part is for, None where neither name nor version tells (cuFFT 12 is CUDA 13's)."""
    if suffixed := _SUFFIX.fullmatch(pin.name):
        return int(suffixed[2])
    number = re.match(r"[0-9]+", pin.version)
    return int(number[0]) if number and pin.name in _VERSIONED_AS_CUDA else None


def runtime_cuda(lock: Lockfile) -> str:
    """`major.minor` of the locked runtime, else of the toolkit's own distribution, else ""."""
    versions = {_stem(pin.name): pin.version for pin in lock.pins}
    for name in ("nvidia-cuda-runtime", "cuda-toolkit"):
        if found := re.match(r"[0-9]+\.[0-9]+", versions.get(name, "")):
            return found[0]
    return ""


def torch_label_cuda(version: str) -> str:
    """The CUDA that torch's local label names: `12.8` of `2.9.0+cu128`, "" for any other label or none."""
    found = _LABEL.fullmatch(version.partition("+")[2])
    return f"{found[1]}.{found[2]}" if found else ""


def _stem(name: str) -> str:
    """The name without `-cuNN`."""
    suffixed = _SUFFIX.fullmatch(name)
    return suffixed[1] if suffixed else name
