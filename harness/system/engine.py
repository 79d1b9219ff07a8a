"""The engine: Docker's, or podman by its socket; as root on Debian and Ubuntu, Docker's is installed and started.

Podman speaks the same API. What it does otherwise is known here: it has another id at every question.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import docker
from docker.errors import DockerException

from harness.documents.lockfile import digest_of
from harness.errors import HostError

MIN_API = (1, 41)
_LOG = Path("/var/log/repro-harness-dockerd.log")
START_TIMEOUT_S = 60
PACKAGES = ("docker.io", "iptables")
_PID_FILES = {"/var/run/docker.pid": "dockerd", "/var/run/docker/containerd/containerd.pid": "containerd"}
Wanted = Literal["auto", "none"]
ProfileForm = Literal["text", "path", "none"]


@dataclass(frozen=True, slots=True)
class UserNamespace:
    """Of containers: none, `rootless` (their root is who started the engine), or `remapped` to ids from `first_id`."""

    kind: Literal["none", "rootless", "remapped"] = "none"
    first_id: int = 0


def connect(timeout_s: int = 600, address: str = "") -> docker.DockerClient:
    """A client of the engine at an address, else of the one that the environment names (DOCKER_HOST).

    Raises:
        HostError: none answers, or it is too old.
    """
    with contextlib.ExitStack() as on_failure:
        try:
            client = docker.DockerClient(address, timeout=timeout_s) if address else docker.from_env(timeout=timeout_s)
            on_failure.callback(client.close)
            version = client.version()
        except (DockerException, OSError, ValueError) as error:
            where = f" at {address}" if address else ""
            raise HostError(f"no Docker Engine answers{where} ({_reason(error)})", _remedy()) from error
        api = tuple(int(part) for part in str(version.get("ApiVersion", "0.0")).split(".")[:2])
        if api < MIN_API:
            raise HostError(f"the engine speaks API {version['ApiVersion']}, 1.41 is needed", "use Engine 20.10 on")
        on_failure.pop_all()
    return client


def ensure(wanted: Wanted, tell: Callable[[str], None], *, is_offline: bool = False) -> docker.DockerClient:
    """A client of an engine, installing one (not offline) and starting it where that can be done.

    Asks first on a terminal; says so off one.

    Raises:
        HostError: there is none and none can be had, or none is wanted.
    """
    if wanted == "none":
        raise HostError("ENGINE=none: no Docker Engine is to be used", "leave ENGINE out, or set RUNNER=host")
    try:
        return connect()
    except HostError as error:
        missing = shutil.which("dockerd") is None
        if not can_install() or (missing and is_offline):
            raise
        problem = error
    what = f"install {' and '.join(PACKAGES)} from this system's distribution and start" if missing else "start"
    if sys.stdin.isatty() and not _agrees(f"{problem.problem}. Shall I {what} the engine? [Y/n] "):
        raise problem
    tell(f"no engine answers: {'installing and ' if missing else ''}starting one")
    if missing:
        _install()
    _start(tell)
    return connect()


def identity(client: docker.DockerClient) -> str:
    """The digest that tells an engine from others, of what it says of itself.

    Engines before 25 take their ID from a key of the machine, so the data root is what tells two of them apart.
    """
    info = client.info()
    who = info.get("Name") if _is_podman(client.version()) else info.get("ID")
    return digest_of(f"{who} {info.get('DockerRootDir')}".encode())


def profile_form(client: docker.DockerClient) -> ProfileForm:
    """How the engine takes a profile of system calls; podman reads a file, and some kernels have no filters."""
    if _is_podman(client.version()):
        return "path"
    options = client.info().get("SecurityOptions") or ()
    return "text" if any(option.startswith("name=seccomp") for option in options) else "none"


def describe(client: docker.DockerClient) -> str:
    """`Docker Engine 28.5.1`, `Podman 4.3.1, rootless`."""
    version = client.version()
    name = "Podman" if _is_podman(version) else "Docker Engine"
    return f"{name} {version.get('Version')}{', rootless' if is_rootless(client) else ''}"


def is_rootless(client: docker.DockerClient) -> bool:
    """Whether the engine runs as an ordinary user, who is root in its containers and nowhere else."""
    if not _is_podman(client.version()):
        return "name=rootless" in (client.info().get("SecurityOptions") or ())
    answer = client.api.get(f"{client.api.base_url}/v4.0.0/libpod/info")  # before 5 it says so in its own API only
    return bool(answer.ok and answer.json()["host"]["security"]["rootless"])


def user_namespace(client: docker.DockerClient) -> UserNamespace:
    """Whom of this machine the users of containers are, where the engine does not make them the machine's own."""
    if is_rootless(client):
        return UserNamespace(kind="rootless")
    info = client.info()
    # A remapped engine keeps its data in a folder that is named by the ids that its containers' root has here.
    found = re.fullmatch(r".*/(\d+)\.\d+", str(info.get("DockerRootDir")))
    if "name=userns" not in (info.get("SecurityOptions") or ()) or found is None:
        return UserNamespace()
    return UserNamespace(kind="remapped", first_id=int(found[1]))


def check_init(client: docker.DockerClient) -> None:
    """See that containers can have an init process: Docker brings its own, podman's is a package that may be missing.

    Raises:
        HostError: podman, on this machine, has none.
    """
    is_here = str(client.api.base_url).startswith("http+docker://")  # by a socket, not by a network
    has_init = shutil.which("catatonit") or Path("/usr/libexec/podman/catatonit").exists()
    if is_here and not has_init and _is_podman(client.version()):
        raise HostError("podman has no init process for containers here", "install the package catatonit")


def _is_podman(version: Mapping[str, Any]) -> bool:
    return any(one.get("Name") == "Podman Engine" for one in version.get("Components") or ())


def can_install() -> bool:
    """Whether an engine can be installed and started here: root, a Debian or Ubuntu, no engine somewhere else."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None and not os.environ.get("DOCKER_HOST")


def _agrees(question: str) -> bool:
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"", "y", "yes"}


def _install() -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        result = subprocess.run(
            ["apt-get", "-q", *arguments], capture_output=True, text=True, env=environment, check=False
        )
        if result.returncode != 0:
            tail = " / ".join((result.stderr or result.stdout).strip().splitlines()[-3:])
            raise HostError(f"apt-get {arguments[0]} failed: {tail[:400]}", _remedy())


def _start(tell: Callable[[str], None]) -> None:
    """Start the engine as a service where services are managed, else as a daemon of its own session."""
    if Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "start", "docker"], capture_output=True, check=False)
    if _answers(5):
        return
    for file, program in _PID_FILES.items():
        _drop_stale(Path(file), program)
    log = _LOG
    with log.open("ab") as stream:
        daemon = subprocess.Popen(
            ["dockerd"], stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
        )
    if _answers(START_TIMEOUT_S, daemon):
        daemon.returncode = 0  # it outlives this process, which does not wait for it: no ResourceWarning
        tell(f"the engine runs (log: {log}); it stays when this command ends")
        return
    tail = " / ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
    raise HostError(f"dockerd does not start: {tail[-600:]}", f"see {log}; {_remedy()}")


def _drop_stale(file: Path, program: str) -> None:
    """Remove a pid file whose process is another program by now; the daemon would take that one for itself."""
    try:
        pid = int(file.read_text())
        if Path(f"/proc/{pid}/comm").read_text().strip() != program:
            file.unlink()
    except (OSError, ValueError):
        return


def _answers(seconds: float, daemon: subprocess.Popen[bytes] | None = None) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with contextlib.closing(docker.from_env(timeout=5)) as client:
                client.ping()
            return True
        except (DockerException, OSError):
            if daemon is not None and daemon.poll() is not None:
                return False
            time.sleep(0.3)
    return False


def _reason(error: BaseException) -> str:
    text = str(error)
    for needle, short in (
        ("FileNotFoundError", "its socket does not exist"),
        ("PermissionError", "no permission to use its socket"),
        ("ConnectionRefusedError", "connection refused"),
    ):
        if needle in text:
            return short
    return text.splitlines()[0][:200] if text else type(error).__name__


def _podmans_socket() -> str:
    """Podman's own socket, where there is one."""
    folders = (os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}", "/run")
    sockets = (Path(folder) / "podman" / "podman.sock" for folder in folders)
    return next((f"=unix://{path} for the podman that runs here" for path in sockets if path.is_socket()), "")


def _remedy() -> str:
    return (
        "start the engine or install one (Debian, Ubuntu: apt-get install docker.io), join the group `docker`, or set "
        f"DOCKER_HOST{_podmans_socket()}; RUNNER=host certifies without containers and says so in the verdict"
    )
