"""What a training writes down: metrics of every step and epoch, the configuration, the environment.

`metrics.jsonl` of a training that was killed and resumed equals that of a straight one, line by line, in all keys
but the volatile ones. To that end every line up to a checkpoint is on the disk before the checkpoint is, the
checkpoint holds their number, and a resume cuts the file back to it.
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
from config import PipelineError

VOLATILE = ("seconds", "tokens_per_s", "rss_bytes", "vram_bytes")  # differ from run to run


class Metrics:
    """Appends JSON lines to `metrics.jsonl`, one write for each line, and counts them."""

    def __init__(self, path: Path, num_lines: int) -> None:
        """Open the file and keep its first `num_lines` lines (0: start a new file).

        Raises:
            PipelineError: the file has fewer lines than that.
        """
        self.num_lines = num_lines
        kept = b""
        if num_lines:
            lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []  # after the last "\n": torn or empty
            if len(lines) < num_lines:
                raise PipelineError(
                    f"{path} holds {len(lines)} lines, the checkpoint was written after {num_lines}",
                    "restore the file, or start over in an empty --output",
                )
            kept = b"".join(line + b"\n" for line in lines[:num_lines])
        write_atomically(path, kept)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)

    def write(self, kind: str, step: int, **values: Any) -> None:
        """Append one record; `step` is the number of optimizer steps done."""
        line = json.dumps({"kind": kind, "step": step, **values}, sort_keys=True, allow_nan=False) + "\n"
        os.write(self._file, line.encode("ascii"))
        self.num_lines += 1

    def flush(self) -> None:
        """Return when every line is on the disk."""
        os.fsync(self._file)

    def close(self) -> None:
        """Flush and close the file."""
        self.flush()
        os.close(self._file)


def memory(device: str) -> dict[str, int | None]:
    """Return the peak memory of the process and, on a GPU, the peak that torch's allocator reserved, in bytes."""
    vram = torch.cuda.max_memory_reserved() if device == "cuda" else None
    return {"rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "vram_bytes": vram}


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
