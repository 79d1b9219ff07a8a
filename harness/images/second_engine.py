"""A second engine, with its own data: it stands for a second machine when an image is built twice.

It is the same dockerd started once more, with a socket, a state folder, a data root and a network namespace of its own,
without bridge and firewall rules, and it ends with the build. A harness that is killed takes its dockerd along; what
that leaves in the state folder, whose lock is free then, goes when the next second engine is started.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import docker
from docker.errors import DockerException

from harness.errors import HostError
from harness.system.store import Progress, Store

_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 30
_NUM_TRIES = 50
_RUN = "/run" if Path("/run").is_dir() else tempfile.gettempdir()
_PREFIX = "repro-harness-"
_LOCK = "lock"
_DATA = "data"
_PROGRAMS = ("dockerd", "containerd", "runc")


def can_start() -> bool:
    """Whether a second engine can be started here: root, a dockerd, and the first one on this machine, too."""
    programs = all(shutil.which(name) for name in ("dockerd", "unshare"))
    return os.geteuid() == 0 and programs and not os.environ.get("DOCKER_HOST")


@contextlib.contextmanager
def second_engine(store: Store, progress: Progress, driver: str = "") -> Iterator[docker.DockerClient]:
    """An engine that holds nothing yet; it is stopped and its data removed at the end.

    Raises:
        HostError: it does not start.
    """
    _sweep()
    with store.scratch("engine") as data, _state_folder(data) as state:
        log = data / "dockerd.log"
        socket = f"unix://{state}/docker.sock"
        with log.open("wb") as output:
            daemon = subprocess.Popen(
                _command(data, state, socket, driver),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            progress("starting a second engine, with its own data")
            client = _connect(socket, daemon, log)
            try:
                yield client
            finally:
                client.close()
        finally:
            _stop(daemon)


@contextlib.contextmanager
def _state_folder(data: Path) -> Iterator[Path]:
    """A folder for sockets, held by a lock, that names the data that belong to it."""
    # A socket's path may have 108 characters, and containerd's lie deep below the state folder.
    state = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_RUN))
    with (state / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (state / _DATA).symlink_to(data)
        try:
            yield state
        finally:
            _clear(state)


def _sweep() -> None:
    """Clear what second engines of processes that are gone left; one that was killed can leave running containers."""
    for state in Path(_RUN).glob(f"{_PREFIX}*"):
        try:
            with (state / _LOCK).open("r") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if (state / _DATA).is_symlink():  # else it is just being made
                    _clear(state)
        except OSError:  # somebody holds it or has removed it
            continue


def _clear(state: Path) -> None:
    """End what runs on a state folder, detach what is mounted there and in its data, and remove it."""
    for _ in range(_NUM_TRIES):
        if not (left := _processes(state)):
            break
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    _unmount(state, (state / _DATA).resolve())
    shutil.rmtree(state, ignore_errors=True)


def _command(data: Path, state: Path, socket: str, driver: str) -> list[str]:
    options = [f"--data-root={data}/data", f"--exec-root={state}/exec", f"--pidfile={state}/pid", f"--host={socket}"]
    options += ["--bridge=none", "--iptables=false", "--ip6tables=false", f"--config-file={state}/none.json"]
    options += [f"--storage-driver={driver}"] if driver else []
    (state / "none.json").write_text("{}", encoding="utf-8")
    # When the harness is killed, nobody else would end it.
    tied = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    # A dockerd without a bridge removes the one that is there: in a network of its own there is none.
    return [*tied, "unshare", "--net", "--", "dockerd", *options]


def _connect(socket: str, daemon: subprocess.Popen[bytes], log: Path) -> docker.DockerClient:
    end = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < end and daemon.poll() is None:
        try:
            client = docker.DockerClient(base_url=socket, timeout=600)
            client.ping()
            return client
        except (DockerException, OSError):
            time.sleep(0.2)
    tail = " / ".join(log.read_text(errors="replace").strip().splitlines()[-2:])
    raise HostError(f"a second engine does not start: {tail[-400:]}", "build without --check")


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            daemon.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(_STOP_TIMEOUT_S)
            break


def _processes(state: Path) -> list[int]:
    """The programs of an engine with a state folder among their arguments, and all that they have started."""
    parents: dict[int, int] = {}
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            parents[int(path.name)] = int((path / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
            arguments = (path / "cmdline").read_bytes().split(b"\0")
            is_told = any(os.fsencode(f"{state}/") in argument for argument in arguments)
            if is_told and Path(os.fsdecode(arguments[0])).name.startswith(_PROGRAMS):
                found.add(int(path.name))
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def _unmount(*folders: Path) -> None:
    """Detach what a daemon that was killed left mounted; removing the folders would fail on it."""
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    points = [line.split(" ")[1] for line in lines]
    for point in sorted((p for p in points if any(Path(p).is_relative_to(f) for f in folders)), reverse=True):
        subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)
