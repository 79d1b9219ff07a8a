"""Varies in this process what nobody promised to a training: the order in which a folder is listed, and its pace.

A race of threads, a draw by the clock, the first file of a folder: on a quiet machine they come out the same twice.
Numbers are not touched, and no generator is drawn from but one of this module's own.
"""

import functools
import json
import os
import queue
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

SWITCH_INTERVAL_S = 5e-5  # Python's own is 5e-3: threads take turns a hundred times as often
LONGEST_PAUSE_S = 0.02
FIRST_PAUSE_S = 0.3
MAX_SHARE = 0.03  # of the time since the start


class Pace:
    """Short pauses after steps, or whatever else a thread does; `pace` seeds them, None makes none."""

    def __init__(self, pace: int | None) -> None:
        self.rng = None if pace is None else random.Random(f"{pace}/{os.environ.get('RANK', '')}")
        self.began, self.paused_s, self.num_steps = time.monotonic(), 0.0, 0

    def rest(self) -> None:
        """Pause after a step, if there is time for it; after the second for long."""
        if self.rng is None:
            return
        self.num_steps += 1
        pause = FIRST_PAUSE_S if self.num_steps == 2 else self.rng.uniform(0, LONGEST_PAUSE_S)
        if self.num_steps == 2 or self.paused_s + pause < MAX_SHARE * (time.monotonic() - self.began):
            time.sleep(pause)
            self.paused_s += pause


def start(text: str) -> Pace:
    """Vary what `HARNESS_VARY` says; what it does not say stays as it is."""
    wanted = json.loads(text)
    if wanted.get("reverses_listings"):
        # A partial, for it is no descriptor: classes keep these functions as attributes.
        os.listdir, os.scandir = functools.partial(_reversed, os.listdir), _Scandir  # type: ignore[assignment]
        os.supports_fd.update((os.listdir, os.scandir))
    if wanted.get("pace") is not None:
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        queue.Queue.put = _late(queue.Queue.put, wanted["pace"])  # type: ignore[method-assign]
    return Pace(wanted.get("pace"))


def _late(put: Callable[..., None], pace: int) -> Callable[..., None]:
    """Let a thread that makes batches for the training be late now and then: what is trained instead shows then."""
    own = threading.local()

    @functools.wraps(put)
    def late(*args: Any, **kwargs: Any) -> None:
        if threading.get_ident() != threading.main_thread().ident:
            if not hasattr(own, "pace"):
                own.pace = Pace(pace)
            own.pace.rest()
        put(*args, **kwargs)

    return late


def _reversed(listing: Callable[..., list], *args: Any, **kwargs: Any) -> list:
    return listing(*args, **kwargs)[::-1]


_real_scandir = os.scandir


class _Scandir:
    """`os.scandir` with its entries the other way round."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with _real_scandir(*args, **kwargs) as found:
            self.entries = iter([*found][::-1])

    def __iter__(self) -> "_Scandir":
        return self

    def __next__(self) -> os.DirEntry:
        return next(self.entries)

    def __enter__(self) -> "_Scandir":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget what is left, as the iterator that this stands in for does."""
        self.entries = iter(())
