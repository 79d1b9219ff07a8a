"""Watches a run while it is on its way: its steps, what its recorded processes came to, when the host must end it."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness.documents.run import BY_ITSELF, FIRST_DIFFERENCE, SIGKILL_EXIT_CODE, SIGNAL, Fault
from harness.judge.first_difference import Row
from harness.runs.logs import last_lines
from harness.system.disk_sizes import Quota

if TYPE_CHECKING:
    from harness.runs.context import RunContext

OTHER_RANKS_WAIT_S = 15
LAUNCHER_WAIT_S = 5.0  # for a process and its launcher to be gone once the recorder has told of the process's end
NOTE_S, FIRST_NOTE_S, STALLED_S = 60.0, 120.0, 180.0
_TAIL_BYTES = 1 << 20
_END_BYTES = 16 << 10
_MAX_READS = 4096


class Listener(Protocol):
    """Is told of steps and kills while they happen."""

    def step(self, trajectory: str, run: int, step: int, total: int | None, loss: float) -> None:
        """A step was recorded."""

    def note(self, text: str) -> None:
        """Something worth knowing."""

    def kill(self, trajectory: str, run: int, kind: str, step: int) -> None:
        """A run died at its fault."""


class RunWatch:
    """Follows a run's progress, and says when the host must end what is left of it.

    Once a recorded process has come to its kill, the rest is ended too: a launcher must not start it again, and what
    a shell script does after a training is not part of an interrupted one. A training that answers a signal has its
    time of grace before.
    """

    def __init__(
        self,
        context: RunContext,
        trajectory: str,
        number: int,
        folder: Path,
        quota: Quota,
        faults: tuple[Fault, ...] = (),
    ) -> None:
        self.folder, self._quota = folder, quota
        self._context = context
        self._trajectory = trajectory
        self._number = number
        self._progress = _Tail(folder / "progress.jsonl")
        self._ledger = _Tail(folder / "ledger.jsonl")
        self._last_step = 0
        self._first_kill_at: float | None = None
        self._answers = [_Answer(fault.grace_s or 0) for fault in faults if fault.kind == SIGNAL]
        self._stall = Stall(context.experiment.timeout_s)
        self.error: str | None = None
        self.has_stopped_it = False

    def __call__(self) -> bool:
        """Whether the host must end what is left of the run, now."""
        self._context.cancel_if_asked()
        self._report_steps()
        self._feed_monitor()
        is_over = any(answer.is_over(_event_files(self.folder)) for answer in self._answers)
        if is_over or self._is_killed() or self._quota.is_over() or self._has_stalled():
            return True
        self.has_stopped_it = self._context.is_over(self._trajectory)
        # A process that starts behind the prefix never comes to the step at which it is to stop.
        scope = self._context.scope
        return self.has_stopped_it or (scope is not None and self._last_step > scope.steps)

    def finish(self) -> None:
        """Tell what came between the last look and the end."""
        self._report_steps()
        self._feed_monitor()
        if self._quota.is_over(now=True):
            self.error = self._quota.excess

    def _has_stalled(self) -> bool:
        """Whether no step came for so long that none will; before that, the log's end is shown once."""
        steps = self._context.experiment.steps
        if steps is not None and self._last_step >= steps:
            return False  # what follows the last step takes as long as it takes
        waited = self._stall.waited(self._last_step)
        where = f"after step {self._last_step}" if self._last_step else "yet"
        name = f"{self._trajectory}/{self._number}"
        if self._stall.is_note_due(waited):
            log = self.folder.parents[1] / f"log-{self._number}.txt"
            for line in (f"{name}: no step {where} for {waited:.0f} s", *last_lines(log).splitlines()):
                self._context.listener.note(line)
        if waited > self._stall.limit_s:
            self.error = f"stalled: no step {where} for {waited:.0f} s"
        return self.error is not None

    def _is_killed(self) -> bool:
        """Whether every rank has come to its kill, or one has and the others had time enough."""
        last = [_last_event(path) for path in _event_files(self.folder)]
        at_kill = [_is_kill(row) for row in last]
        if not any(at_kill):
            return False
        now = time.monotonic()
        self._first_kill_at = self._first_kill_at or now
        return all(at_kill) or now - self._first_kill_at > OTHER_RANKS_WAIT_S

    def _feed_monitor(self) -> None:
        monitor = self._context.monitor
        if monitor is not None and not self._trajectory.startswith("control"):
            for row in self._ledger.all():
                monitor.observe(self._trajectory, self._number, row)

    def _report_steps(self) -> None:
        for row in self._progress.rows():
            step, loss = row.get("step"), row.get("loss")
            if isinstance(step, int) and isinstance(loss, int | float):
                self._last_step = step
                total = self._context.experiment.steps
                self._context.listener.step(self._trajectory, self._number, step, total, float(loss))


class _Answer:
    """How long processes have been answering a signal: until the time of grace is over, or all have ended."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._tails: dict[Path, _Tail] = {}
        self._last: dict[Path, object] = {}
        self._signalled_at: float | None = None
        self._ended_at: float | None = None

    def is_over(self, paths: list[Path]) -> bool:
        """Whether the host must end what is left."""
        now = time.monotonic()
        for path in paths:
            for row in self._tails.setdefault(path, _Tail(path)).all():
                self._last[path] = row.get("kind")
                if _sent(row):
                    self._signalled_at = self._signalled_at or now
        if self._signalled_at is None:
            return False
        has_ended = all(self._last.get(path) == "exit" for path in paths)
        if has_ended:
            self._ended_at = self._ended_at or now
        # A process that trains after all had ended was started again by the launcher.
        is_left = self._ended_at is not None and (not has_ended or now - self._ended_at > LAUNCHER_WAIT_S)
        return is_left or now - self._signalled_at > self._grace_s


class Stall:
    """How long a training has had no step, against what its steps took so far."""

    def __init__(self, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout_s, self._clock = timeout_s, clock
        self._last_step, self._since = 0, clock()
        self._gaps: list[float] = []
        self._is_noted = False

    def waited(self, step: int) -> float:
        """Seconds since the last step, given that of now."""
        now = self._clock()
        if step != self._last_step:
            if self._last_step:
                self._gaps = [*self._gaps[-99:], (now - self._since) / max(1, step - self._last_step)]
            self._last_step, self._since, self._is_noted = step, now, False
        return now - self._since

    def is_note_due(self, waited: float) -> bool:
        """Whether a person should be told, once: after ten times the median step, or 120 s without a first one."""
        patience = max(NOTE_S, 10 * statistics.median(self._gaps)) if self._gaps else FIRST_NOTE_S
        is_due, self._is_noted = waited > patience and not self._is_noted, self._is_noted or waited > patience
        return is_due

    @property
    def limit_s(self) -> float:
        """Seconds without a step after which none is waited for: long, for models load and evaluations run slowly."""
        return max(STALLED_S, self._timeout_s / 4, 20 * max(self._gaps, default=0.0))


def killed_by(folder: Path, *, exit_code: int, was_killed_outside: bool, was_stopped: bool) -> str | None:
    """Who ended a run that was to be ended, as `RunFacts.killed_by` has it.

    The end of the recorded process counts: the command around it (a shell, `torchrun`) may end with any exit code.

    Args:
        folder: what the recorder wrote.
        exit_code: of the command.
        was_killed_outside: whether the host sent SIGKILL.
        was_stopped: whether it did so for a first difference.
    """
    if was_stopped and was_killed_outside:
        return FIRST_DIFFERENCE
    fault = last_fault(folder)
    if fault is not None and fault.get("waiting") is not True:
        return "self"
    if any(_sent(row) for path in _event_files(folder) for row in _Tail(path).all()):
        has_ended = all((_last_event(path) or {}).get("kind") == "exit" for path in _event_files(folder))
        return BY_ITSELF if has_ended else "outside" if was_killed_outside else "self"
    if exit_code == SIGKILL_EXIT_CODE or (fault is not None and was_killed_outside):
        return "outside" if was_killed_outside else "self"
    return None


def _sent(row: Row) -> bool:
    """Whether an event tells of a signal that a training may answer."""
    fault = row.get("fault") if row.get("kind") == "fault" else None
    return isinstance(fault, dict) and fault.get("kind") == SIGNAL


def last_fault(folder: Path) -> Row | None:
    """The fault that a recorded process of a run ended with; None if none did."""
    last = [_last_event(path) for path in _event_files(folder)]
    return next((row for row in last if row is not None and _is_kill(row)), None)


def _is_kill(row: Row | None) -> bool:
    fault = row.get("fault") if row is not None and row.get("kind") == "fault" else None
    is_answered = row is not None and row.get("handled") is True
    return isinstance(fault, dict) and not is_answered and not str(fault.get("kind")).startswith("flip_")


def _event_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("events*.jsonl"))


def _last_event(path: Path) -> Row | None:
    """The last whole event of a file."""
    tail = _Tail(path)
    tail.skip_to_end()
    rows = tail.rows()
    return rows[-1] if rows else None


class _Tail:
    """New rows of a file that an untrusted process writes: regular files only, bounded, malformed rows skipped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def skip_to_end(self) -> None:
        """Leave out all but the last rows of the file as it is now."""
        with contextlib.suppress(OSError):
            self._offset = max(0, os.lstat(self._path).st_size - _END_BYTES)

    def rows(self) -> list[Row]:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return []
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return []
            data = os.pread(descriptor, _TAIL_BYTES, self._offset)
        finally:
            os.close(descriptor)
        whole = data[: data.rfind(b"\n") + 1]
        if not whole and len(data) == _TAIL_BYTES:
            whole = data
        self._offset += len(whole)
        return [row for line in whole.splitlines() if isinstance(row := _decode(line), dict)]

    def all(self) -> Iterator[Row]:
        """The rows up to the end of the file as it is now."""
        for _ in range(_MAX_READS):
            if not (found := self.rows()):
                return
            yield from found


def _decode(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
