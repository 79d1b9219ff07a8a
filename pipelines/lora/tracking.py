"""What a training writes down: metrics of every step and epoch, the configuration, the environment.

`metrics.jsonl` of a training that was killed and resumed equals that of a straight one, line by line, in all keys
but the volatile ones. To that end every line up to a checkpoint is on the disk before the checkpoint is, the
checkpoint holds their number, and a resume cuts the file back to it. What it says also goes to the trackers that
the configuration asks for (trackers.py).
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import utilisation
from config import Config, PipelineError
from trackers import Trackers

VOLATILE = (  # what differs from run to run
    "seconds",
    "tokens_per_s",
    "rss_bytes",
    "vram_bytes",
    "vram_allocated_bytes",
    *utilisation.KEYS,
)


class Metrics:
    """Appends JSON lines to `metrics.jsonl`, one write for each line, counts them, and passes them to the trackers."""

    def __init__(self, path: Path, num_lines: int, config: Config) -> None:
        """Open the file and keep its first `num_lines` lines (0: start a new file); start the trackers.

        Raises:
            PipelineError: the file has fewer lines than that, or a tracker cannot be started.
        """
        self.num_lines = num_lines
        kept: list[bytes] = []
        if num_lines:
            lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []  # after the last "\n": torn or empty
            if len(lines) < num_lines:
                raise PipelineError(
                    f"{path} holds {len(lines)} lines, the checkpoint was written after {num_lines}",
                    "restore the file, or start over in an empty --output",
                )
            kept = lines[:num_lines]
        write_atomically(path, b"".join(line + b"\n" for line in kept))
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._utilisation = utilisation.Utilisation(config.training.device)
        self._trackers = Trackers(config, path.parent, [json.loads(line) for line in kept])

    def write(self, kind: str, step: int, **values: Any) -> None:
        """Append one record; `step` is the number of optimizer steps done.

        A step's record gets the load of CPU and GPU since the one before, an epoch's the mean over its steps.
        """
        if kind == "step":
            values |= self._utilisation.read()
        elif kind == "epoch":
            values |= self._utilisation.mean()
        line = json.dumps({"kind": kind, "step": step, **values}, sort_keys=True, allow_nan=False) + "\n"
        os.write(self._file, line.encode("ascii"))
        self.num_lines += 1
        self._trackers.write(kind, step, values)

    def flush(self) -> None:
        """Return when every line is on the disk, and whatever of the trackers a resume cannot write again."""
        os.fsync(self._file)
        self._trackers.flush()

    def close(self) -> None:
        """Flush and close the file and the trackers."""
        os.fsync(self._file)
        self._trackers.close()
        os.close(self._file)


def memory(device: str) -> dict[str, int | None]:
    """Return peaks in bytes: of the process, and on a GPU of what torch's allocator reserved and what it gave out."""
    on_cuda = device == "cuda"
    return {
        "rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "vram_bytes": torch.cuda.max_memory_reserved() if on_cuda else None,
        "vram_allocated_bytes": torch.cuda.max_memory_allocated() if on_cuda else None,
    }


def environment(device: str) -> dict[str, Any]:
    """Describe what the training runs on: versions, CUDA, cuDNN, driver, GPU, threads, commit. Null: not there."""
    packages = ("torch", "transformers", "peft", "safetensors", "tokenizers", "numpy")
    on_cuda = device == "cuda"
    return {
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in packages},
        "platform": f"{platform.system()} {platform.machine()} {' '.join(platform.libc_ver())}",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if torch.version.cuda else None,
        "driver": _driver() if on_cuda else None,
        "gpu": torch.cuda.get_device_name() if on_cuda else None,
        "commit": os.environ.get("HARNESS_COMMIT") or None,
    }


def _driver() -> str | None:
    """Return the NVIDIA driver's version as nvidia-smi reports it, or None where it cannot be asked."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.splitlines()[0].strip() if answer.stdout.strip() else None


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document with sorted keys, whole or not at all."""
    write_atomically(path, (json.dumps(document, indent=2, sort_keys=True) + "\n").encode("utf-8"))


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content`; after a crash the file holds the old content or the new, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Return when the folder's entries (a rename, say) are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
