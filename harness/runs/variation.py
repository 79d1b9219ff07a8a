"""What is incidental to a training, and differs between those that are compared: names, numbers, order, pace.

A straight training has none of it changed. The names follow from the trajectory and the run alone, so that a certify
that is made again finds the same. The idea is reprotest's (https://salsa.debian.org/reproducible-builds/reprotest),
which builds a package twice in environments that differ on purpose.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.documents.digest import sha256

_NEIGHBOUR = """
import os, random, sys, time
rng, parent = random.Random(int(sys.argv[1])), int(sys.argv[2])
while os.getppid() == parent:
    end = time.perf_counter() + rng.uniform(0.001, 0.004)
    while time.perf_counter() < end:
        pass
    time.sleep(rng.uniform(0.02, 0.08))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """The incidental facts of one run.

    Attributes:
        host_name: what the machine is called.
        num_processes_before: how many process ids are used up before the training gets its own.
        hash_seed: PYTHONHASHSEED, unless the experiment sets it.
        time_zone: TZ, unless the experiment sets it; another one than UTC has another date at this moment.
        reverses_listings: whether folders are listed in the opposite order; none is promised to anybody.
        pace: seed of short pauses and of a busy neighbour on the cores; None for a training that is left alone.
    """

    host_name: str = "trainer"
    num_processes_before: int = 0
    hash_seed: str = "0"
    time_zone: str = "UTC"
    reverses_listings: bool = False
    pace: int | None = None

    @property
    def for_recorder(self) -> str:
        """What the recorder varies, as the variable HARNESS_VARY has it."""
        return json.dumps({"pace": self.pace, "reverses_listings": self.reverses_listings})


AS_IT_IS = Variation()


def variation_of(trajectory: str, number: int, now: datetime | None = None) -> Variation:
    """The incidental facts of a run; those of controls are the straight one's, which they are compared with."""
    if trajectory == "straight" or trajectory.startswith("control"):
        return AS_IT_IS
    rng = random.Random(sha256(f"{trajectory}/{number}".encode()).hex)
    hour = (now or datetime.now(UTC)).hour
    return Variation(
        host_name=f"trainer-{rng.getrandbits(16):04x}",
        num_processes_before=rng.randint(3, 97),
        hash_seed=str(rng.randint(1, 4294967295)),
        time_zone="UTC-14" if hour >= 10 else "UTC+12",  # POSIX: UTC-14 is 14 hours ahead
        reverses_listings=True,
        pace=rng.getrandbits(16),
    )


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


@contextlib.contextmanager
def busy_neighbour(pace: int | None) -> Iterator[None]:
    """Processes that take each core for a few milliseconds now and then, about a twentieth of its time."""
    command = (sys.executable, "-I", "-S", "-c", _NEIGHBOUR)
    started: list[subprocess.Popen[bytes]] = []
    try:
        for place in range(0 if pace is None else min(num_cores(), 8)):
            arguments = (f"{pace}{place}", str(os.getpid()))  # whoever is killed now is no parent any more
            started.append(subprocess.Popen((*command, *arguments), stdin=subprocess.DEVNULL, close_fds=True))
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()
