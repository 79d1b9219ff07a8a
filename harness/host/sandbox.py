"""Where one process runs: a hardened container, or a process of the host. Both take the same order, give one outcome.

A container has no network, a read-only root, no capabilities, no new privileges, an unprivileged user, an init process
and bounds on memory and processes. The flags in force are read back from the engine, never assumed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import docker
import requests
from docker.errors import DockerException
from docker.types import LogConfig, Mount

from harness.core.run import SIGKILL_EXIT_CODE
from harness.errors import EnvironmentError_

TRAINER_UID = 1000
PIDS_LIMIT = 1024
TMP_BYTES = 2 << 30
LOG_BYTES = 64 << 20
LABEL = "repro-harness.run"
POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder or file that the process sees. `inside` is its path in a container.

    A place that is not mounted is only a name for what others are mounted below.
    """

    outside: Path
    inside: str
    is_writable: bool = False
    is_mounted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One process to run.

    Attributes:
        name: for people and for the container's label: `<run id>/<trajectory>/<n>`.
        argv: in which `{key}` of `places` stands for that place's path.
        places: what the process sees, by key.
        environment: the whole environment but for what the sandbox itself must set.
        memory_bytes: bound of memory; swap is not given.
        log: where stdout and stderr go.
    """

    name: str
    argv: tuple[str, ...]
    places: Mapping[str, Place]
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
    settings: dict[str, Any]
    volatile: dict[str, Any] = field(default_factory=dict)


#: Called every 0.1 s while the process runs; True means: kill it now, from outside.
Watch = Callable[[], bool]


class Sandbox(Protocol):
    """Runs one process to its end."""

    kind: str

    def path(self, place: Place) -> str:
        """The path by which the process sees a place."""
        ...

    def execute(self, order: Order, watch: Watch) -> Outcome:
        """Run the process, calling `watch` while it runs. Leaves nothing behind, also after Ctrl-C."""
        ...


def render(order: Order, sandbox: Sandbox) -> tuple[str, ...]:
    """The argument list with every `{key}` replaced by the path of that place."""
    rendered = []
    for argument in order.argv:
        for key, place in order.places.items():
            argument = argument.replace("{" + key + "}", sandbox.path(place))
        rendered.append(argument)
    return tuple(rendered)


class ContainerSandbox:
    """One fresh container an order."""

    kind = "docker"

    def __init__(self, image_id: str) -> None:
        self._image_id = image_id

    def path(self, place: Place) -> str:
        """The path by which the process sees a place."""
        return place.inside

    def execute(self, order: Order, watch: Watch) -> Outcome:
        """Run the order in a container that is removed afterwards."""
        # A client of its own: orders run side by side, and a connection serves one of them at a time.
        try:
            client = docker.from_env(timeout=120)
        except (DockerException, OSError) as failure:
            raise EnvironmentError_(f"the engine does not answer: {failure}", "start it again") from failure
        container = None
        started = time.monotonic()
        try:
            container = client.containers.create(self._image_id, **_options(order, render(order, self)))
            container.start()
            was_killed, error = _wait(container, order, watch, started)
            seconds = time.monotonic() - started
            container.reload()
            _write_log(container, order.log)
            return _outcome(container.attrs, was_killed=was_killed, error=error, seconds=seconds)
        except (DockerException, requests.RequestException, OSError) as failure:
            return Outcome(
                exit_code=-1,
                oom_killed=False,
                was_killed_outside=False,
                error=f"the engine failed: {str(failure)[:300]}",
                seconds=time.monotonic() - started,
                settings={},
            )
        finally:
            if container is not None:
                with contextlib.suppress(DockerException, requests.RequestException, OSError):
                    container.remove(force=True, v=True)
            client.close()


def owner() -> tuple[int, int]:
    """The user and group that own what a container writes: unprivileged, also when the harness is root."""
    return (TRAINER_UID, TRAINER_UID) if os.geteuid() == 0 else (os.geteuid(), os.getegid())


def _options(order: Order, argv: tuple[str, ...]) -> dict[str, Any]:
    mounts = [
        Mount(target=place.inside, source=str(place.outside), type="bind", read_only=not place.is_writable)
        for place in order.places.values()
        if place.is_mounted
    ]
    uid, gid = owner()
    return {
        "command": list(argv),
        "entrypoint": [],
        "working_dir": order.places["code"].inside,
        "environment": {"HOME": "/tmp", **order.environment},
        "mounts": mounts,
        "user": f"{uid}:{gid}",
        "network_mode": "none",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "init": True,
        "pids_limit": PIDS_LIMIT,
        "mem_limit": order.memory_bytes,
        "memswap_limit": order.memory_bytes,
        "tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={TMP_BYTES}"},
        "shm_size": 1 << 30,
        "ipc_mode": "private",
        "log_config": LogConfig(type="json-file", config={"max-size": str(LOG_BYTES), "max-file": "1"}),
        "labels": {LABEL: order.name},
        "hostname": "trainer",
    }


def _wait(container: Any, order: Order, watch: Watch, started: float) -> tuple[bool, str | None]:
    """Watch until the container has ended: whether it was killed from outside, and why it cannot be judged."""
    was_killed = False
    while True:
        container.reload()
        if container.status not in {"running", "created", "restarting"}:
            return was_killed, None
        if not was_killed and watch():
            was_killed = True
            container.kill(signal="SIGKILL")
        if time.monotonic() - started > order.timeout_s:
            container.kill(signal="SIGKILL")
            return was_killed, f"it ran longer than timeout_s: {order.timeout_s}"
        time.sleep(POLL_S)


def _outcome(attrs: dict[str, Any], *, was_killed: bool, error: str | None, seconds: float) -> Outcome:
    state, host, config = attrs["State"], attrs["HostConfig"], attrs["Config"]
    mounts = {m["Destination"]: "rw" if m["RW"] else "ro" for m in attrs["Mounts"]}
    settings = {
        "image": attrs["Image"],
        "user": config["User"],
        "network_mode": host["NetworkMode"],
        "read_only_root": host["ReadonlyRootfs"],
        "cap_drop": host["CapDrop"],
        "security_opt": host["SecurityOpt"],
        "init": host["Init"],
        "pids_limit": host["PidsLimit"],
        "memory_bytes": host["Memory"],
        "memory_swap_bytes": host["MemorySwap"],
        "privileged": host["Privileged"],
        "ipc_mode": host["IpcMode"],
        "tmpfs": host["Tmpfs"],
        "mounts": dict(sorted(mounts.items())),
        "device_requests": host.get("DeviceRequests"),
    }
    return Outcome(
        exit_code=int(state["ExitCode"]),
        oom_killed=bool(state["OOMKilled"]),
        was_killed_outside=was_killed,
        error=error or (state["Error"] or None),
        seconds=seconds,
        settings=settings,
        volatile={"container_id": attrs["Id"], "started": state["StartedAt"], "finished": state["FinishedAt"]},
    )


def _write_log(container: Any, path: Path) -> None:
    with path.open("wb") as log:
        for chunk in container.logs(stdout=True, stderr=True, stream=True):
            log.write(chunk)


class HostSandbox:
    """A process of the host, with a given interpreter and an environment of its own; nothing isolates it."""

    kind = "host"

    def __init__(self, python: Path) -> None:
        self._python = python

    def path(self, place: Place) -> str:
        """The path by which the process sees a place."""
        return str(place.outside)

    def execute(self, order: Order, watch: Watch) -> Outcome:
        """Run the order as a process group that is ended afterwards."""
        argv = render(order, self)
        program = str(self._python) if argv[0] in {"python", "python3"} else argv[0]
        home = order.log.parent / f".home-{order.log.stem}"
        home.mkdir()
        environment = self._environment(order, home)
        started = time.monotonic()
        was_killed, error = False, None
        with order.log.open("wb") as log:
            process = subprocess.Popen(
                [program, *argv[1:]],
                cwd=order.places["code"].outside,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                while process.poll() is None:
                    if not was_killed and watch():
                        was_killed = True
                        os.killpg(process.pid, signal.SIGKILL)
                    if time.monotonic() - started > order.timeout_s:
                        error = f"it ran longer than timeout_s: {order.timeout_s}"
                        os.killpg(process.pid, signal.SIGKILL)
                    time.sleep(POLL_S)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                shutil.rmtree(home, ignore_errors=True)
        code = process.returncode
        return Outcome(
            exit_code=128 - code if code < 0 else code,
            # Without a control group nobody can tell our SIGKILL from the kernel's: an unplanned one is taken for it.
            oom_killed=False,
            was_killed_outside=was_killed,
            error=error,
            seconds=time.monotonic() - started,
            settings={"isolation": "none", "python": str(self._python.name)},
            volatile={"pid": process.pid},
        )

    def _environment(self, order: Order, home: Path) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES") if key in os.environ}
        path = f"{self._python.parent}:/usr/local/bin:/usr/bin:/bin"
        return {**kept, "PATH": path, "HOME": str(home), "TMPDIR": str(home), "LANG": "C.UTF-8", **order.environment}


def describe_exit(exit_code: int) -> str:
    """An exit code in words."""
    if exit_code == SIGKILL_EXIT_CODE:
        return "SIGKILL (137)"
    if exit_code > 128:
        with contextlib.suppress(ValueError):
            return f"{signal.Signals(exit_code - 128).name} ({exit_code})"
    return str(exit_code)
