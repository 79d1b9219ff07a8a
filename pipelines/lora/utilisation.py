"""How busy the CPU and the GPU are while a training runs: measured by psutil and NVML, null where nobody can tell."""

from __future__ import annotations

from typing import Any

import torch

KEYS = ("cpu_percent", "gpu_percent")


class Utilisation:
    """Reads the load of this process on the CPU, and of the GPU that torch uses.

    It asks the kernel and the driver, and neither computes nor draws anything. `cpu_percent` is that of the process
    since the last reading, 100 for each busy core (psutil, `Process.cpu_percent`); `gpu_percent` is the share of the
    driver's last sample period, up to a second, in which a kernel was running (NVML, `nvmlDeviceGetUtilizationRates`).
    """

    def __init__(self, device: str) -> None:
        """Start to measure; `device` is "cpu" or "cuda"."""
        import psutil

        self._process = psutil.Process()
        self._process.cpu_percent()  # the first reading has no interval behind it and returns 0
        self._gpu = _nvml_handle() if device == "cuda" else None
        self._readings: dict[str, list[float]] = {key: [] for key in KEYS}

    def read(self) -> dict[str, float | None]:
        """Return the load since the last reading, and keep it for `mean`."""
        reading = {"cpu_percent": self._process.cpu_percent(), "gpu_percent": _gpu_percent(self._gpu)}
        for key, value in reading.items():
            if value is not None:
                self._readings[key].append(value)
        return reading

    def mean(self) -> dict[str, float | None]:
        """Return the means of the readings since the last call: those of an epoch, or of what a resume left of it."""
        means = {key: round(sum(kept) / len(kept), 1) if kept else None for key, kept in self._readings.items()}
        for kept in self._readings.values():
            kept.clear()
        return means


def _nvml_handle() -> Any:
    """Return NVML's handle of torch's current GPU, found by its UUID: NVML counts all GPUs, torch the visible ones."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties().uuid}")
    except pynvml.NVMLError:
        return None


def _gpu_percent(handle: Any) -> float | None:
    if handle is None:
        return None
    import pynvml

    try:
        return float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    except pynvml.NVMLError:  # a MIG device does not tell
        return None
