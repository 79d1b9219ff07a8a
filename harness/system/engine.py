"""The Docker Engine: the one that answers, or, as root on Debian and Ubuntu, one that is installed and started."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

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


def identity(info: Mapping[str, object]) -> str:
    """The digest that tells an engine from others, of what it says of itself (`client.info()`).

    Engines before 25 take their ID from a key of the machine, so the data root is what tells two of them apart.
    """
    return digest_of(f"{info.get('ID')} {info.get('DockerRootDir')}".encode())


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


def _remedy() -> str:
    return (
        "start the engine or install one (Debian, Ubuntu: apt-get install docker.io), join the group `docker`, "
        "or set DOCKER_HOST; RUNNER=host certifies without containers and says so in the verdict"
    )
