"""A second engine, with its own data: it stands for a second machine when an image is built twice.

It is the same dockerd started once more, with a socket, a state folder and a data root of its own, without bridge and
firewall rules, as the first process of its own namespaces of processes, mounts and network: when it ends, the kernel
ends its containers and detaches what it mounted. It ends with the build, and with a harness that is killed.
"""

from __future__ import annotations

import contextlib
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
from harness.system.held import temporary_folder
from harness.system.store import Progress, Store

_START_TIMEOUT_S = 60
_RUN = "/run" if Path("/run").is_dir() else tempfile.gettempdir()
_PREFIX = "repro-harness-"


def can_start() -> bool:
    """Whether a second engine can be started here: root, a dockerd, and the first one on this machine, too."""
    programs = all(shutil.which(name) for name in ("dockerd", "setpriv", "unshare"))
    return os.geteuid() == 0 and programs and not os.environ.get("DOCKER_HOST")


@contextlib.contextmanager
def second_engine(store: Store, progress: Progress, driver: str = "") -> Iterator[docker.DockerClient]:
    """An engine that holds nothing yet; it is stopped and its data removed at the end.

    Raises:
        HostError: it does not start.
    """
    with store.scratch("engine") as data, temporary_folder(_PREFIX, Path(_RUN)) as state:  # a socket's path is short
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
            with contextlib.closing(_connect(socket, daemon, log)) as client:
                yield client
        finally:
            _stop(daemon)


def _command(data: Path, state: Path, socket: str, driver: str) -> list[str]:
    options = [f"--data-root={data}/data", f"--exec-root={state}/exec", f"--pidfile={state}/pid", f"--host={socket}"]
    options += ["--bridge=none", "--iptables=false", "--ip6tables=false", f"--config-file={state}/none.json"]
    options += [f"--storage-driver={driver}"] if driver else []
    (state / "none.json").write_text("{}", encoding="utf-8")
    # When the harness is killed, unshare is too, and dockerd with it. A dockerd without a bridge removes the one that
    # is there: in a network of its own there is none.
    tied = ["setpriv", "--pdeathsig", "KILL", "unshare", "--fork", "--kill-child", "--pid", "--mount-proc", "--net"]
    return [*tied, "--", "dockerd", *options]


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
    """End dockerd, and with it everything in its namespaces; nobody wants its data any more."""
    with contextlib.suppress(OSError):  # it has ended already
        for pid in Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text(encoding="ascii").split():
            os.kill(int(pid), signal.SIGKILL)
    daemon.wait()
