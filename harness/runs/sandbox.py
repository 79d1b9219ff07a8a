"""Runs one process: what every sandbox takes and returns.

`container.ContainerSandbox` starts a hardened container, `host.HostSandbox` a process of this machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

from harness.documents.gpu import GpuRequest
from harness.documents.run import SIGKILL_EXIT_CODE, RunFacts
from harness.judge.soundness import SIGXFSZ_EXIT_CODE
from harness.runs.gpu_faults import fault_in
from harness.system.held import PREFIX

TRAINER_UID = 1000
LOG_BYTES = 64 << 20  # what is kept of a log: a longer one begins again, as the engine's does
POLL_S = 0.1
_TAIL_BYTES = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A folder or file of this machine (`source`) that the process sees, in a container under the path `target`.

    One with `is_mounted` false is only a name for the path that others are mounted below. `at` is where every training
    sees its own on a host that mounts nothing.
    """

    source: Path
    target: str
    is_writable: bool = False
    is_mounted: bool = True
    at: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """One process to run.

    Attributes:
        name: for people and for the container's label: `<run id>/<trajectory>/<n>`.
        argv: in which `{key}` of `mounts` stands for that mount's path.
        mounts: what the process sees, by key.
        environment: all variables but those that the sandbox itself sets.
        memory_bytes: bound of memory; swap is not given.
        log: where stdout and stderr go.
        starts_in: the key of the mount that is its working folder.
        host_name: what the machine is called there, if the sandbox can say so.
        num_processes_before: process ids that are used up before the process gets its own.
        elsewhere: where a process of the host keeps what it writes outside of its mounts; None: where it says.
    """

    name: str
    argv: tuple[str, ...]
    mounts: Mapping[str, Mount]
    environment: Mapping[str, str]
    memory_bytes: int
    timeout_s: int
    log: Path
    starts_in: str = "code"
    host_name: str = "trainer"
    num_processes_before: int = 0
    elsewhere: Path | None = None

    @property
    def scratch(self) -> Path:
        """Where, on the host, its temporary folders lie: what it writes there counts as well."""
        return self.log.with_name(f"{PREFIX}{self.log.stem}")

    @property
    def lock(self) -> Path:
        """The file that is held while the process runs: beside its log, where the process cannot come."""
        return self.log.with_suffix(".lock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a process; `exit_code` is 128 + n for signal n; `error` says why it cannot be judged."""

    exit_code: int
    oom_killed: bool
    was_killed_outside: bool
    error: str | None
    seconds: float
    settings: dict[str, JsonValue]
    volatile: dict[str, JsonValue] = field(default_factory=dict)


#: Called every 0.1 s while the process runs; True means: kill it now, from outside.
Watch = Callable[[], bool]


class Sandbox(Protocol):
    """Runs one process to its end."""

    kind: str

    @property
    def is_serial(self) -> bool:
        """Whether only one process runs at a time, however many are asked for."""
        ...

    @property
    def owner(self) -> tuple[int, int]:
        """The user and group that own here what a process writes."""
        ...

    def path(self, mount: Mount) -> str:
        """The path under which the process sees a mount."""
        ...

    def execute(self, spec: ProcessSpec, watch: Watch) -> Outcome:
        """Run the process, calling `watch` while it runs. Leaves nothing behind, also after Ctrl-C."""
        ...


def render(spec: ProcessSpec, sandbox: Sandbox) -> tuple[str, ...]:
    """The argument list with every `{key}` replaced by the path of that mount."""
    rendered = []
    for argument in spec.argv:
        for key, mount in spec.mounts.items():
            argument = argument.replace("{" + key + "}", sandbox.path(mount))
        rendered.append(argument)
    return tuple(rendered)


def owner() -> tuple[int, int]:
    """The user and group that own what a container writes: unprivileged, also when the harness is root."""
    return (TRAINER_UID, TRAINER_UID) if os.geteuid() == 0 else (os.geteuid(), os.getegid())


def hand_over(sandbox: Sandbox, *folders: Path) -> None:
    """Make folders, and what lies in them, those of whom a process writes as."""
    if os.geteuid() != 0:
        return
    for folder in folders:
        os.chown(folder, *sandbox.owner)
        for path in folder.rglob("*"):
            os.chown(path, *sandbox.owner, follow_symlinks=False)


def gpu_defaults(gpus: GpuRequest | None) -> dict[str, str]:
    """How CUDA numbers several GPUs unless an experiment says otherwise: by the bus, not by their speed."""
    return {} if gpus is None else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def with_gpu_fault(outcome: Outcome, log: Path) -> Outcome:
    """The outcome, with the reason why a process that failed failed for want of its GPU, if its log names one."""
    if outcome.error is not None or outcome.exit_code in (0, SIGKILL_EXIT_CODE, SIGXFSZ_EXIT_CODE):
        return outcome
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            fault = fault_in(stream.read().decode("utf-8", "replace"))
    except OSError:
        return outcome
    return dataclasses.replace(outcome, error=fault) if fault else outcome


def describe_exit(ended: Outcome | RunFacts) -> str:
    """How a process ended, in words."""
    words = str(ended.exit_code)
    if ended.exit_code > 128:
        with contextlib.suppress(ValueError):
            words = f"{signal.Signals(ended.exit_code - 128).name} ({ended.exit_code})"
    return f"{words}, out of memory (see memory_gib)" if ended.oom_killed else words
