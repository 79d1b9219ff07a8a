"""The files of a run: two hash chains, a bounded sidecar, a volatile progress log.

Every line is canonical JSON and one write to a descriptor opened with O_APPEND: what was written before a SIGKILL is
there after it. Which files a process gets (`ledger.jsonl`, `ledger-rank1.jsonl`, `ledger-2.jsonl`, ...) is settled
when it first trains; until then events wait in memory, so that a launcher takes no place.
"""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

SIDECAR_LIMIT_BYTES = 256 << 20
MAX_WAITING_EVENTS = 20_000
OTHER_RANKS_WAIT_S = 10
LAST_EVENTS_BYTES = 4096
KILLS_OF_ALL_RANKS = ("micro_batch", "before_step", "after_step", "signal", "stop")


def canonical(record: Any) -> str:
    """Return canonical JSON: sorted keys, no spaces, ASCII. Raises ValueError for NaN and infinities."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


class Lines:
    """A file that only grows, line by line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor: int | None = None
        self.identity: tuple[int, int] | None = None
        self.num_bytes = 0

    def append(self, text: str) -> None:
        """Add one line. Raises OSError when the whole line could not be written."""
        descriptor = self.descriptor
        if descriptor is None or _identity(descriptor) != self.identity:
            descriptor = self.descriptor = self._open()
        line = text.encode("ascii") + b"\n"
        if os.write(descriptor, line) != len(line):
            raise OSError(f"{self.path.name}: a line was written in part only")
        self.num_bytes += len(line)

    def _open(self) -> int:
        """Open the file, again where a training closed the descriptor or has its number for a file of its own."""
        create = os.O_CREAT if self.identity is None else 0
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | create, 0o644)
        if self.identity not in (None, _identity(descriptor)):
            raise OSError(f"{self.path.name}: another file has its name")
        self.identity = _identity(descriptor)
        return descriptor


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


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
        self.num_ranks = 1
        self.waiting: list[dict] = []
        self.is_sidecar_full = False

    def claim(self, role: str = "") -> None:
        """Take the next free place of a role: the first, or `-2` where another process of this run has that, and so on.

        Args:
            role: `rank1`, `rank2`, ... of a distributed training, `other` of what did not train, nothing of what does.
        """
        place = 0
        while not self.slot:
            place += 1
            suffix = (f"-{role}" if role else "") + ("" if place == 1 else f"-{place}")
            try:
                os.close(os.open(self.path / f"events{suffix}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
            except FileExistsError:
                continue
            self.slot = place
        self.events = Chain(self.path / f"events{suffix}.jsonl")
        self.ledger = Chain(self.path / f"ledger{suffix}.jsonl")
        self.tensors = Lines(self.path / f"tensors{suffix}.jsonl")
        self.progress = Lines(self.path / f"progress{suffix}.jsonl")
        self.operators = Lines(self.path / f"operators{suffix}.jsonl")
        waiting, self.waiting = self.waiting, []
        for record in waiting:
            self.events.add(record)

    def is_claimed_by_anybody(self) -> bool:
        """Say whether a process of this run has trained already."""
        return (self.path / "events.jsonl").exists()

    def event(self, kind: str, **fields: Any) -> None:
        """Record an event, at once if this process has its files, else when it gets them."""
        record = {"kind": kind, **fields}
        if self.slot:
            self.events.add(record)
        elif len(self.waiting) < MAX_WAITING_EVENTS:
            self.waiting.append(record)
        if kind == "fault" and fields["fault"]["kind"] in KILLS_OF_ALL_RANKS and "rank" not in fields["fault"]:
            self._wait_for_other_ranks()

    def _wait_for_other_ranks(self) -> None:
        """Wait until every rank has come to its fault: the first one that dies takes the others with it."""
        names = ["events.jsonl", *(f"events-rank{rank}.jsonl" for rank in range(1, self.num_ranks))]
        deadline = time.monotonic() + OTHER_RANKS_WAIT_S
        while self.num_ranks > 1 and time.monotonic() < deadline:
            if all(_has_come_to_fault(self.path / name) for name in names):
                return
            time.sleep(0.02)

    def sidecar(self, step: int, at: str, stream: str, entries: dict) -> None:
        """Write a stream's tensors to the sidecar; beyond its limit only those of the start and the end."""
        if self.tensors.num_bytes >= SIDECAR_LIMIT_BYTES and at in ("step", "before"):
            if not self.is_sidecar_full:
                self.is_sidecar_full = True
                self.event("sidecar_full", step=step)
            return
        self.tensors.append(canonical({"step": step, "at": at, "stream": stream, "tensors": entries}))

    def write_operators(self, rows: list[dict]) -> None:
        """Write the operators of a step, in the order in which they ran."""
        for row in rows:
            self.operators.append(canonical(row))

    def place(self, path: Any) -> dict[str, str | None]:
        """Return which file a path names: `path` as `relative` gives it, and `file`, which renaming leaves as it is."""
        if not isinstance(path, str | bytes | os.PathLike):
            return {"path": None}
        name = os.fsdecode(path)
        place: dict[str, str | None] = {"path": self.relative(name)}
        if os.path.isfile(name):
            found = os.stat(name)
            place["file"] = hashlib.sha256(f"{found.st_size}:{found.st_mtime_ns}".encode()).hexdigest()[:16]
        return place

    def relative(self, path: str) -> str:
        """Return a path below the output folder relative to it, any other one absolute."""
        absolute = Path(os.path.abspath(path))
        return str(absolute.relative_to(self.output)) if absolute.is_relative_to(self.output) else str(absolute)


def _has_come_to_fault(path: Path) -> bool:
    """Say whether a rank has told of its fault; one that answered a signal may have told more since."""
    try:
        with open(path, "rb") as events:
            events.seek(max(0, os.fstat(events.fileno()).st_size - LAST_EVENTS_BYTES))
            last = events.read().splitlines()
    except OSError:
        return False
    return any(b'"kind":"fault"' in line and b'"flip_' not in line for line in last)
