"""Runs one process in a fresh, hardened container; the flags in force are read back from the engine.

A container has no network, a read-only root, no capabilities, no new privileges, the system calls that `seccomp` names,
an unprivileged user, an init process and bounds on memory and processes. GPUs are asked for by UUID. Where NVIDIA's
toolkit does not start a GPU container below a read-only root, the root is writable, and that is recorded; a container
without a GPU never gets one.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException
from docker.types import DeviceRequest, LogConfig
from docker.types import Mount as DockerMount

from harness.documents.gpu import DRIVER_CAPABILITIES, GpuRequest, device_request
from harness.errors import HostError
from harness.images.leftovers import lock_labels
from harness.runs import seccomp
from harness.runs.gpu_faults import explain_start, needs_writable_root
from harness.runs.sandbox import (
    LOG_BYTES,
    Mount,
    Outcome,
    ProcessSpec,
    Watch,
    gpu_defaults,
    owner,
    render,
    with_gpu_fault,
)
from harness.system.deferred_signals import deferred
from harness.system.engine import ProfileForm, UserNamespace
from harness.system.held import held

PIDS_LIMIT = 1024
TMP_BYTES = 2 << 30
LABEL = "repro-harness.run"
POLL_S = 0.1
NO_NAMESPACE = UserNamespace()
_ALIVE = frozenset({"running", "created", "restarting"})
_MAX_WORDS = 600
WRITABLE_ROOT = "a writable root file system: NVIDIA's toolkit started no GPU container below a read-only one"


class ContainerSandbox:
    """Runs each process in a fresh container."""

    kind = "docker"
    is_serial = False

    def __init__(
        self,
        image_id: str,
        gpus: GpuRequest | None = None,
        *,
        users: UserNamespace = NO_NAMESPACE,
        profile_form: ProfileForm = "text",
    ) -> None:
        self._image_id = image_id
        self._gpus = gpus
        self._profile_form: ProfileForm = profile_form
        # Who is not root here cannot give files to the ids that a remapped engine takes for its containers.
        self._users = users if users.kind != "remapped" or os.geteuid() == 0 else NO_NAMESPACE
        self._is_opted_out = self._users != users
        # A rootless engine's user is root in its containers.
        self._user = (0, 0) if users.kind == "rootless" else owner()

    @property
    def owner(self) -> tuple[int, int]:
        """Who owns here what a process writes."""
        uid, gid = owner()
        return self._users.first_id + uid, self._users.first_id + gid

    def path(self, mount: Mount) -> str:
        """The path under which the process sees a mount."""
        return mount.target

    def execute(self, spec: ProcessSpec, watch: Watch) -> Outcome:
        """Run the process in a container that is removed afterwards."""
        # A client of its own: runs go on side by side, and a connection serves one of them at a time.
        try:
            client = docker.from_env(timeout=120)
        except (DockerException, OSError) as failure:
            raise HostError(f"the engine does not answer: {failure}", "start it again") from failure
        started = time.monotonic()
        profile = seccomp.as_options(spec.log.parent, self._profile_form)
        with contextlib.closing(client), held(spec.lock), profile as options:
            outcome = self._execute(client, spec, watch, started, options)
        for mount in spec.mounts.values():
            if mount.is_writable:
                disarm(mount.source)
        return outcome

    def _execute(
        self, client: docker.DockerClient, spec: ProcessSpec, watch: Watch, started: float, profile: list[str]
    ) -> Outcome:
        container, fallback = None, None
        try:
            with deferred():
                container = self._create(client, spec, profile, is_root_read_only=True)
            try:
                container.start()
            except DockerException as failure:
                if self._gpus is None or not needs_writable_root(str(failure)):
                    raise
                container.remove(force=True, v=True)
                with deferred():
                    container, fallback = self._create(client, spec, profile, is_root_read_only=False), WRITABLE_ROOT
                container.start()
            was_killed, error = _wait(container, spec, watch, started)
            seconds = time.monotonic() - started
            container.reload()
            _write_log(container, spec.log)
            outcome = _outcome(container.attrs, was_killed=was_killed, error=error, seconds=seconds, fallback=fallback)
            outcome.settings["user_namespace"] = self._users.kind
            return outcome if self._gpus is None else with_gpu_fault(outcome, spec.log)
        except (DockerException, requests.RequestException, OSError) as failure:
            return self._failed(failure, time.monotonic() - started)
        finally:
            if container is not None:
                with contextlib.suppress(DockerException, requests.RequestException, OSError):
                    container.remove(force=True, v=True)

    def _failed(self, failure: Exception, seconds: float) -> Outcome:
        why = None if self._gpus is None else explain_start(str(failure))
        reason = f"{why or 'the engine failed'}: {_words(failure)}"
        return Outcome(
            exit_code=-1, oom_killed=False, was_killed_outside=False, error=reason, seconds=seconds, settings={}
        )

    def _create(
        self, client: docker.DockerClient, spec: ProcessSpec, profile: list[str], *, is_root_read_only: bool
    ) -> Any:
        options = container_options(
            spec, render(spec, self), self._user, self._gpus, profile, is_root_read_only=is_root_read_only
        )
        if self._is_opted_out:
            options["userns_mode"] = "host"
        container = client.containers.create(self._image_id, **options)
        asked = [] if self._gpus is None else device_request(self._gpus)["device_ids"]
        taken = _device_ids(container.attrs["HostConfig"])
        if taken != asked:
            container.remove(force=True, v=True)
            raise DockerException(f"the engine did not take the request for {asked}: it says {taken}")
        return container


def _words(failure: Exception) -> str:
    """The engine's own words; of a long chain of causes the beginning and, above all, the end."""
    text = " ".join(str(getattr(failure, "explanation", None) or failure).split())
    return text if len(text) <= _MAX_WORDS else f"{text[: _MAX_WORDS // 4]} ... {text[-_MAX_WORDS // 2 :]}"


def container_options(
    spec: ProcessSpec,
    argv: tuple[str, ...],
    user: tuple[int, int],
    gpus: GpuRequest | None,
    profile: list[str],
    *,
    is_root_read_only: bool = True,
) -> dict[str, Any]:
    """What the engine is asked for, as docker-py's `containers.create` takes it."""
    toolkit = {} if gpus is None else {"NVIDIA_DRIVER_CAPABILITIES": DRIVER_CAPABILITIES}
    devices = {} if gpus is None else {"device_requests": [DeviceRequest(**device_request(gpus))]}
    mounts = [
        DockerMount(target=mount.target, source=str(mount.source), type="bind", read_only=not mount.is_writable)
        for mount in spec.mounts.values()
        if mount.is_mounted
    ]
    return {
        "command": _numbered(argv, spec.num_processes_before),
        "entrypoint": [],
        "working_dir": spec.mounts[spec.starts_in].target,
        "environment": {"HOME": "/tmp", **gpu_defaults(gpus), **spec.environment, **toolkit},
        "mounts": mounts,
        "user": "{}:{}".format(*user),
        "network_mode": "none",
        "read_only": is_root_read_only,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges", *profile],
        "init": True,
        "pids_limit": PIDS_LIMIT,
        "mem_limit": spec.memory_bytes,
        "memswap_limit": spec.memory_bytes,
        "tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={TMP_BYTES}"},
        "shm_size": 1 << 30,
        "ipc_mode": "private",
        "log_config": LogConfig(type="json-file", config={"max-size": str(LOG_BYTES), "max-file": "1"}),
        "labels": {LABEL: spec.name, **lock_labels(spec.lock)},
        "hostname": spec.host_name,
        **devices,
    }


def _numbered(argv: tuple[str, ...], num_before: int) -> list[str]:
    """The command, started when so many process ids were used up: in a container it has the same one every time."""
    if not num_before:
        return list(argv)
    script = 'i=0; while [ "$i" -lt "$0" ]; do (:); i=$((i+1)); done; exec "$@"'
    return ["/bin/sh", "-c", script, str(num_before), *argv]


def _device_ids(host: Mapping[str, Any]) -> list[str]:
    return [name for request in host.get("DeviceRequests") or () for name in request.get("DeviceIDs") or ()]


def _wait(container: Any, spec: ProcessSpec, watch: Watch, started: float) -> tuple[bool, str | None]:
    """Watch until the container has ended: whether it was killed from outside, and why it cannot be judged."""
    was_killed = False
    while True:
        container.reload()
        if container.status not in _ALIVE:
            return was_killed, None
        if not was_killed and watch():
            was_killed = True
            _kill(container)
        if time.monotonic() - started > spec.timeout_s:
            _kill(container)
            return was_killed, f"it ran longer than timeout_s: {spec.timeout_s}"
        time.sleep(POLL_S)


def _kill(container: Any) -> None:
    """SIGKILL; a process that ends by itself at the same moment is none to be killed."""
    try:
        container.kill(signal="SIGKILL")
    except APIError:
        container.reload()
        if container.status in _ALIVE:
            raise


def _outcome(
    attrs: dict[str, Any], *, was_killed: bool, error: str | None, seconds: float, fallback: str | None
) -> Outcome:
    state, host, config = attrs["State"], attrs["HostConfig"], attrs["Config"]
    mounts = {m["Destination"]: "rw" if m["RW"] else "ro" for m in attrs["Mounts"]}
    settings = {
        "image": attrs["Image"],
        "user": config["User"],
        "network_mode": host["NetworkMode"],
        "read_only_root": host["ReadonlyRootfs"],
        "cap_drop": host["CapDrop"],
        "security_opt": [seccomp.named(option) for option in host["SecurityOpt"] or ()],
        "init": host["Init"],
        "pids_limit": host["PidsLimit"],
        "memory_bytes": host["Memory"],
        "memory_swap_bytes": host["MemorySwap"],
        "privileged": host["Privileged"],
        "ipc_mode": host["IpcMode"],
        "tmpfs": host["Tmpfs"],
        "mounts": dict(sorted(mounts.items())),
        "device_requests": host.get("DeviceRequests"),
        "host_name": config["Hostname"],
    }
    if fallback is not None:
        settings["fallback"] = fallback
    return Outcome(
        exit_code=int(state["ExitCode"]),
        oom_killed=bool(state["OOMKilled"]),
        was_killed_outside=was_killed,
        error=error or (state["Error"] or None),
        seconds=seconds,
        settings=settings,
        volatile={"container_id": attrs["Id"], "started": state["StartedAt"], "finished": state["FinishedAt"]},
    )


def disarm(folder: Path) -> None:
    """Take the setuid and setgid bits off what a container wrote: outside, they would mean somebody of this machine."""
    for path in (folder, *folder.rglob("*")):
        mode = path.lstat().st_mode
        if mode & (stat.S_ISUID | stat.S_ISGID) and not stat.S_ISLNK(mode):
            with contextlib.suppress(PermissionError):  # of a user that a rootless engine has for its containers alone
                path.chmod(stat.S_IMODE(mode) & ~(stat.S_ISUID | stat.S_ISGID))


def _write_log(container: Any, path: Path) -> None:
    with path.open("wb") as log:
        for chunk in container.logs(stdout=True, stderr=True, stream=True):
            log.write(chunk)
