"""Checkpoints: the complete state of a training, written whole or not at all, and found again after a kill.

A checkpoint holds tensors and plain Python values only, so it loads with `torch.load(weights_only=True)` and needs
no class of this pipeline. Files below `checkpoints/`:

    latest.pt                          the newest state: every `save_every` steps and at each epoch's end
    {exp}_epoch{N}_loss{L:.4f}.pt      the state at the end of epoch N (1, 2, ...), L is the validation loss
    best.pt                            the state at the end of the epoch with the lowest validation loss
    <file>.sha256                      its SHA-256, as sha256sum writes it

At an epoch's end `latest.pt` is written first, so no sound checkpoint is ever newer than a sound `latest.pt`; if a
kill falls between the three files, the resume from `latest.pt` writes the others again.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import torch
from config import Config, PipelineError
from tracking import sync_folder, write_atomically

FORMAT = 2
KEYS = frozenset(
    {
        "format",
        "experiment",
        "config",
        "seed",
        "epoch",
        "global_step",
        "micro_position",
        "loss",
        "best_loss",
        "model",
        "optimizer",
        "scheduler",
        "scaler",
        "rng",
        "sampler",
        "early_stopping",
        "data",
        "progress",
        "metrics_lines",
    }
)

State = dict[str, Any]


def epoch_name(experiment: str, epoch: int, loss: float) -> str:
    """Name the checkpoint of an epoch's end; epochs count from 1."""
    return f"{experiment}_epoch{epoch}_loss{loss:.4f}.pt"


def save(path: Path, state: State) -> None:
    """Write a checkpoint and its checksum.

    Killed at any point, `path` holds the old state or the new one and its checksum holds: the checksum file names
    both digests while one file replaces the other, for two files cannot be replaced in one instant.
    """
    assert state.keys() == KEYS, f"incomplete state: {sorted(KEYS ^ state.keys())}"
    temporary = path.with_name(path.name + ".tmp")
    torch.save(state, temporary)
    digest = _sync_and_hash(temporary)
    lines = [_line(digest, path)]
    if path.exists():
        lines += [_line(old, path) for old in _recorded_digests(path)]
    write_atomically(_sidecar(path), "".join(lines).encode("utf-8"))
    os.replace(temporary, path)
    sync_folder(path.parent)
    if len(lines) > 1:
        write_atomically(_sidecar(path), lines[0].encode("utf-8"))


def load_newest(folder: Path, config: Config) -> tuple[State | None, list[str]]:
    """Find the newest complete checkpoint whose checksum holds.

    Returns its state (None if the folder holds no checkpoint at all: the training was killed before its first one)
    and a report, one line for each file that was rejected or chosen.

    Raises:
        PipelineError: there are checkpoints but none is sound, or the newest was made with another configuration.
    """
    report = []
    for torn in sorted(folder.glob("*.tmp")):
        report.append(f"rejected {torn.name}: an unfinished write")
        torn.unlink()
    candidates = _newest_first(folder)
    for path in candidates:
        try:
            state = _read(path)
        except ValueError as error:
            report.append(f"rejected {path.name}: {error}")
            continue
        _require_same_config(path, state["config"], config.as_dict())
        report.append(f"resuming from {path.name}: step {state['global_step']}")
        return state, report
    if candidates:
        raise PipelineError(
            "no sound checkpoint:\n  " + "\n  ".join(report), "restore one, or start over in an empty --output"
        )
    return None, report


def _newest_first(folder: Path) -> list[Path]:
    """Order the checkpoints: latest, then the epochs from the last to the first, then best."""

    def rank(path: Path) -> tuple[int, int, str]:
        epoch = re.search(r"_epoch(\d+)_loss[^_]*\.pt$", path.name)
        if path.name == "latest.pt":
            return (0, 0, "")
        return (1, -int(epoch[1]), path.name) if epoch else (2, 0, path.name)

    return sorted(folder.glob("*.pt"), key=rank)


def _read(path: Path) -> State:
    """Load one checkpoint onto the CPU.

    Raises:
        ValueError: it is not complete, with the reason.
    """
    recorded = _recorded_digests(path)
    if not recorded:
        raise ValueError("no checksum beside it")
    if _sync_and_hash(path) not in recorded:
        raise ValueError("its bytes do not have the recorded SHA-256")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a file that is no checkpoint
        raise ValueError(f"it cannot be loaded: {type(error).__name__}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"it is no checkpoint of format {FORMAT}")
    if state.keys() != KEYS:
        raise ValueError(f"its state lacks or adds: {', '.join(sorted(KEYS ^ state.keys()))}")
    return state


def _require_same_config(path: Path, saved: State, own: State, prefix: str = "") -> None:
    for key in sorted(saved.keys() | own.keys()):
        old, new = saved.get(key), own.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            _require_same_config(path, old, new, f"{prefix}{key}.")
        elif old != new:
            raise PipelineError(
                f"{path.name} was made with {prefix}{key} = {old!r}, the configuration says {new!r}",
                "resume with the same configuration, or start over in an empty --output",
            )


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _line(digest: str, path: Path) -> str:
    return f"{digest}  {path.name}\n"


def _recorded_digests(path: Path) -> list[str]:
    if not _sidecar(path).is_file():
        return []
    lines = _sidecar(path).read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.split()[0] for line in lines if line.strip()]


def _sync_and_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex, once they are on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()
