"""The files of a run: two hash chains, a bounded sidecar, a volatile progress log.

Every line is canonical JSON and one write to a descriptor opened with O_APPEND: what was written before a SIGKILL is
there after it. Which files a process gets (`ledger.jsonl`, `ledger-2.jsonl`, ...) is settled when it first has
something that must be kept; until then events wait in memory, so that a launcher takes no place.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

SIDECAR_LIMIT_BYTES = 256 << 20


def canonical(record: Any) -> str:
    """Return canonical JSON: sorted keys, no spaces, ASCII. Raises ValueError for NaN and infinities."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


class Lines:
    """A file that only grows, line by line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor: int | None = None
        self.num_bytes = 0

    def append(self, text: str) -> None:
        """Add one line. Raises OSError when the whole line could not be written."""
        if self.descriptor is None:
            self.descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        line = text.encode("ascii") + b"\n"
        if os.write(self.descriptor, line) != len(line):
            raise OSError(f"{self.path.name}: a line was written in part only")
        self.num_bytes += len(line)


class Chain(Lines):
    """Lines that form a hash chain: each carries the hash of its predecessor's and its own content."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.head = hashlib.sha256(b"").hexdigest()

    def add(self, record: dict) -> None:
        """Add `record` with its link of the chain."""
        self.head = hashlib.sha256((self.head + canonical(record)).encode("ascii")).hexdigest()
        self.append(canonical({**record, "chain": self.head}))


class RunFolder:
    """`HARNESS_RUN_DIR`: <trajectory>/runs/<n>."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder)
        self.output = Path(os.path.normpath(self.path / ".." / ".." / "output"))
        self.number = int(self.path.name) if self.path.name.isdigit() else 1
        self.slot = 0  # 0: no file is ours yet
        self.waiting: list[dict] = []
        self.is_sidecar_full = False

    def claim(self) -> None:
        """Take the next free place: 1, or 2 where another process of this run holds 1, and so on."""
        while not self.slot:
            place = 1 + sum(1 for _ in self.path.glob("events*.jsonl"))
            suffix = "" if place == 1 else f"-{place}"
            try:
                os.close(os.open(self.path / f"events{suffix}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
            except FileExistsError:
                continue
            self.slot = place
        self.events = Chain(self.path / f"events{suffix}.jsonl")
        self.ledger = Chain(self.path / f"ledger{suffix}.jsonl")
        self.tensors = Lines(self.path / f"tensors{suffix}.jsonl")
        self.progress = Lines(self.path / f"progress{suffix}.jsonl")
        waiting, self.waiting = self.waiting, []
        for record in waiting:
            self.events.add(record)

    def is_claimed_by_anybody(self) -> bool:
        """Say whether a process of this run has files already."""
        return (self.path / "events.jsonl").exists()

    def event(self, kind: str, **fields: Any) -> None:
        """Record an event, at once if this process has its files, else when it gets them."""
        record = {"kind": kind, **fields}
        if self.slot:
            self.events.add(record)
        elif len(self.waiting) < 1000:
            self.waiting.append(record)

    def sidecar(self, step: int, at: str, stream: str, entries: dict) -> None:
        """Write a stream's tensors to the sidecar; beyond its limit only those of the start and the end."""
        if self.tensors.num_bytes >= SIDECAR_LIMIT_BYTES and at == "step":
            if not self.is_sidecar_full:
                self.is_sidecar_full = True
                self.event("sidecar_full", step=step)
            return
        tensors = {name: [e.dtype, list(e.shape), e.digest] for name, e in entries.items()}
        self.tensors.append(canonical({"step": step, "at": at, "stream": stream, "tensors": tensors}))

    def relative(self, path: str) -> str:
        """Return a path below the output folder relative to it, any other one absolute."""
        absolute = Path(os.path.abspath(path))
        return str(absolute.relative_to(self.output)) if absolute.is_relative_to(self.output) else str(absolute)
