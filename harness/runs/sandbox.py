"""Runs one process: what every sandbox takes and returns, and `HostSandbox`, which starts a process of this machine.

`container.ContainerSandbox` starts a hardened container instead, from the same specification.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

from harness.documents.gpu import GpuRequest
from harness.documents.run import SIGKILL_EXIT_CODE
from harness.judge.soundness import SIGXFSZ_EXIT_CODE
from harness.runs.gpu_faults import fault_in
from harness.system.deferred_signals import deferred

TRAINER_UID = 1000
POLL_S = 0.1
_TAIL_BYTES = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A folder or file of this machine (`source`) that the process sees, in a container under the path `target`.

    One with `is_mounted` false is only a name for the path that others are mounted below.
    """

    source: Path
    target: str
    is_writable: bool = False
    is_mounted: bool = True


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
    """

    name: str
    argv: tuple[str, ...]
    mounts: Mapping[str, Mount]
    environment: Mapping[str, str]
    memory_bytes: int
    timeout_s: int
    log: Path


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


@contextlib.contextmanager
def _process_group(
    argv: Sequence[str], spec: ProcessSpec, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, of which nothing is left afterwards, whatever ends the waiting."""
    process = None
    try:
        with spec.log.open("wb") as log, deferred():
            process = subprocess.Popen(
                argv,
                cwd=spec.mounts["code"].source,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        yield process
    finally:
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class HostSandbox:
    """A process of the host, with a given interpreter and an environment of its own; nothing isolates it."""

    kind = "host"

    def __init__(self, python: Path, gpus: GpuRequest | None = None) -> None:
        self._python = python
        self._gpus = gpus

    def path(self, mount: Mount) -> str:
        """The path under which the process sees a mount."""
        return str(mount.source)

    def execute(self, spec: ProcessSpec, watch: Watch) -> Outcome:
        """Run the process in a group of its own, which is ended afterwards."""
        argv = render(spec, self)
        program = str(self._python) if argv[0] in {"python", "python3"} else argv[0]
        home = spec.log.parent / f".home-{spec.log.stem}"
        home.mkdir()
        environment = self._environment(spec, home)
        started = time.monotonic()
        was_killed, error = False, None
        try:
            with _process_group((program, *argv[1:]), spec, environment) as process:
                while process.poll() is None:
                    if not was_killed and watch():
                        was_killed = True
                        os.killpg(process.pid, signal.SIGKILL)
                    if time.monotonic() - started > spec.timeout_s:
                        error = f"it ran longer than timeout_s: {spec.timeout_s}"
                        os.killpg(process.pid, signal.SIGKILL)
                    time.sleep(POLL_S)
        finally:
            shutil.rmtree(home, ignore_errors=True)
        code = process.returncode
        outcome = Outcome(
            exit_code=128 - code if code < 0 else code,
            # Without a control group nobody can tell our SIGKILL from the kernel's: an unplanned one is taken for it.
            oom_killed=False,
            was_killed_outside=was_killed,
            error=error,
            seconds=time.monotonic() - started,
            settings=self._settings(),
            volatile={"pid": process.pid},
        )
        return outcome if self._gpus is None else with_gpu_fault(outcome, spec.log)

    def _settings(self) -> dict[str, JsonValue]:
        gpus: list[JsonValue] = [] if self._gpus is None else list(self._gpus.uuids)
        return {"isolation": "none", "python": str(self._python.name), "gpus": gpus}

    def _environment(self, spec: ProcessSpec, home: Path) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("LD_LIBRARY_PATH",) if key in os.environ}
        path = f"{self._python.parent}:/usr/local/bin:/usr/bin:/bin"
        own = {**kept, "PATH": path, "HOME": str(home), "TMPDIR": str(home), "LANG": "C.UTF-8"}
        # Empty hides every GPU: a process that asked for none sees none, as in a container.
        visible = "" if self._gpus is None else ",".join(self._gpus.uuids)
        return {**own, **gpu_defaults(self._gpus), **spec.environment, "CUDA_VISIBLE_DEVICES": visible}


def describe_exit(exit_code: int) -> str:
    """An exit code in words."""
    if exit_code == SIGKILL_EXIT_CODE:
        return "SIGKILL (137)"
    if exit_code > 128:
        with contextlib.suppress(ValueError):
            return f"{signal.Signals(exit_code - 128).name} ({exit_code})"
    return str(exit_code)
