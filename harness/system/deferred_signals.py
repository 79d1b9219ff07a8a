"""What ends the harness from outside: Ctrl-C, SIGTERM, SIGHUP; where it is raised, and where it is only noted.

An exception of a signal's handler may come between any two instructions, and what waits in threading and
concurrent.futures is Python code: there it leaves a lock taken for ever, or releases one twice (docs.python.org,
signal, "Note on Signal Handlers and Exceptions"). So the main thread handles a pool's locks behind `deferred`.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import FrameType
from typing import Any, ParamSpec, TypeVar

from harness.errors import HarnessError, Interrupted

_ASKED = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
_INSISTS_AFTER_S = 1.0
_LOOK_EVERY_S = 0.2

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class _Signals:
    """What has come so far: when the first did, how deep the main thread is in `deferred`, and whether one is due."""

    first_at: float | None = None
    num_held: int = 0
    is_due: bool = False

    def come(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.first_at is None:
            self.first_at = now
        elif number != signal.SIGINT or now - self.first_at < _INSISTS_AFTER_S:
            return
        if not self.num_held:
            raise KeyboardInterrupt
        self.is_due = True


_signals: _Signals | None = None


@contextlib.contextmanager
def signals_as_ctrl_c() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first SIGINT, SIGTERM or SIGHUP, so that what has begun is cleaned up.

    GitHub's runner sends SIGINT and, 7.5 s later, SIGTERM (docs.github.com, "Workflow cancellation reference"): while
    the clean-up is on, the second is not to break it off. A Ctrl-C more than a second after the first signal is a
    person who insists, and does. What was ignored from the start (`nohup`, a shell's background jobs) stays ignored.

    Raises:
        Interrupted: one came.
    """
    global _signals
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in _ASKED}
    caught = [number for number in _ASKED if kept[number] is not signal.SIG_IGN]
    found = _signals = _Signals()
    for number in caught:
        signal.signal(number, found.come)
    try:
        with interruption_named("start again"):
            yield
    finally:
        for number in caught:
            # What comes now finds nothing to clean up; until the process has ended it must not hide the answer.
            signal.signal(number, kept[number] if found.first_at is None else signal.SIG_IGN)
        _signals = None


@contextlib.contextmanager
def interruption_named(remedy: str) -> Iterator[None]:
    """Make an error of Ctrl-C, and of whatever breaks in code that a signal left half-way.

    Raises:
        Interrupted: with this remedy.
    """
    try:
        yield
    except HarnessError:
        raise
    except (KeyboardInterrupt, Exception) as failure:
        if isinstance(failure, Exception) and (_signals is None or _signals.first_at is None):
            raise
        raise Interrupted("interrupted", remedy) from failure


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Only note what comes in here, and raise it at the end: what is done in here is not left half-way.

    For moments only; in other threads than the main one, to which no signal comes, it does nothing.

    Raises:
        KeyboardInterrupt: something came.
    """
    found = _signals
    if found is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    found.num_held += 1
    try:
        yield
    finally:
        found.num_held -= 1
        if found.is_due and not found.num_held:
            found.is_due = False
            raise KeyboardInterrupt


class Pool(ThreadPoolExecutor):
    """Threads that work for the main thread; Ctrl-C ends its waiting for them, and leaves their locks whole."""

    def __init__(self, num_threads: int) -> None:
        super().__init__(max_workers=num_threads)
        self._submitted: list[Future[Any]] = []

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        with deferred():
            future = super().submit(fn, *args, **kwargs)
            self._submitted.append(future)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take nothing more on, and wait for what was begun."""
        with deferred():
            super().shutdown(wait=False, cancel_futures=cancel_futures)
        if wait:
            wait_for(self._submitted)


def wait_for(futures: Collection[Future[T]], timeout_s: float = float("inf")) -> set[Future[T]]:
    """Wait until all of them are done, or the time is over; those that are done.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    deadline, pending = time.monotonic() + timeout_s, set(futures)
    while True:
        left_s = deadline - time.monotonic()
        with deferred():
            pending = wait(pending, timeout=max(0.0, min(_LOOK_EVERY_S, left_s))).not_done
        if not pending or left_s <= _LOOK_EVERY_S:
            return set(futures) - pending
