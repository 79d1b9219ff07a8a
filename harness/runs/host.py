"""Runs one process of this machine, with a given interpreter and an environment of its own.

Where the kernel allows it (root, or user namespaces), the process gets namespaces: below ROOT it sees its mounts at the
paths that a container would give them, the same for every training; it has temporary folders, a host name and a network
of its own, and nothing outlives it. Elsewhere trainings run one after the other, and each one's folders are moved to
one path.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pydantic import JsonValue

from harness.documents.gpu import GpuRequest
from harness.errors import HostError
from harness.runs import host_init
from harness.runs.sandbox import (
    LOG_BYTES,
    POLL_S,
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
from harness.system.held import held, temporary_folder

ROOT = Path("/tmp/run")  # short: the sockets of DataLoader workers have 107 bytes
COVERED = ("/tmp", "/var/tmp", "/dev/shm")  # what processes of one machine share without being asked
_NAMESPACES = ("--mount", "--uts", "--ipc", "--pid", "--fork", "--mount-proc", "--kill-child")
_NO_NETWORK = "--net"
_PROBE_TIMEOUT_S = 20
_REPORT_BYTES = 1 << 16
MAX_NAMED = 20
_serial = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    """How a process ended: `exit_code` is negative for a signal; `outlived` are commands that were left, and ended."""

    exit_code: int
    outlived: tuple[str, ...]
    pid: int


@functools.cache
def namespaces() -> tuple[str, ...]:
    """The command that gives a process namespaces of its own here, or nothing where this user may not have them."""
    command = shutil.which("unshare")
    if command is None:
        return ()
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    tried = ((command, *user, *network, *_NAMESPACES) for network in ((_NO_NETWORK,), ()))
    return next(filter(_works, tried), ())


@functools.cache
def has_layers() -> bool:
    """Whether what a process writes anywhere on this machine can be kept from all others."""
    return bool(namespaces()) and _works(namespaces(), has_layers=True)


def _works(arguments: tuple[str, ...], *, has_layers: bool = False) -> bool:
    with temporary_folder() as folder:
        elsewhere = folder / "elsewhere" if has_layers else None
        order = _order(folder, ("true",), "/", {}, host_name="trainer", num_processes_before=0, elsewhere=elsewhere)
        try:
            ended = _run(arguments, order, folder / "log", {"PATH": os.defpath}, lambda _: None)
        except OSError:
            return False
    return ended.exit_code == 0


class HostSandbox:
    """A process of the host; it sees the files of whoever started it."""

    kind = "host"

    def __init__(self, python: Path, gpus: GpuRequest | None = None) -> None:
        self._python = python
        self._gpus = gpus

    @property
    def is_serial(self) -> bool:
        """Whether only one process runs at a time."""
        return not namespaces()

    @property
    def owner(self) -> tuple[int, int]:
        """Who owns what a process writes; root writes whosever it is."""
        return owner()

    def path(self, mount: Mount) -> str:
        """The path under which the process sees a mount."""
        if namespaces():
            return f"{ROOT}{mount.target}"
        return str(mount.source if mount.at is None else mount.at)

    def execute(self, spec: ProcessSpec, watch: Watch) -> Outcome:
        """Run the process; everything below it is ended afterwards."""
        started = time.monotonic()
        watching = _Watching(spec, watch, started)
        with held(spec.lock), temporary_folder(parent=spec.log.parent, name=spec.log.stem) as scratch:
            ended = self._in_namespaces(spec, scratch, watching) if namespaces() else self._moved(spec, watching)
        error = watching.error
        if ended.outlived and error is None:
            error = f"it left processes that outlived it, which were ended: {'; '.join(ended.outlived)}"
        settings = self._settings(spec)
        if spec.elsewhere is not None and has_layers():
            settings |= _elsewhere(spec.elsewhere)
        outcome = Outcome(
            exit_code=128 - ended.exit_code if ended.exit_code < 0 else ended.exit_code,
            # Without a control group nobody can tell our SIGKILL from the kernel's: an unplanned one is taken for it.
            oom_killed=False,
            was_killed_outside=watching.was_killed,
            error=error,
            seconds=time.monotonic() - started,
            settings=settings,
            volatile={"pid": ended.pid},
        )
        return outcome if self._gpus is None else with_gpu_fault(outcome, spec.log)

    def _in_namespaces(self, spec: ProcessSpec, scratch: Path, watching: _Watching) -> _Ended:
        folders = {target: scratch / str(place) for place, target in enumerate(COVERED[:2]) if Path(target).is_dir()}
        for folder in folders.values():
            folder.mkdir()
            folder.chmod(0o1777)
        environment = self._environment(spec, "/tmp")
        argv = self._argv(spec)
        # Code that is a training's own may be written to, and is compared afterwards: that names the file.
        mounts = [
            _mount(
                mount.source, self.path(mount), mount.is_writable or (mount.target == "/code" and mount.at is not None)
            )
            for mount in _mounted(spec)
        ]
        covered = {target: str(folder) for target, folder in folders.items()}
        order = _order(
            scratch,
            argv,
            self.path(spec.mounts[spec.starts_in]),
            {**covered, **({COVERED[2]: None} if Path(COVERED[2]).is_dir() else {})},
            mounts=[*self._kept(argv, environment), *mounts],
            host_name=spec.host_name,
            num_processes_before=spec.num_processes_before,
            elsewhere=spec.elsewhere if has_layers() else None,
        )
        return _run(namespaces(), order, spec.log, environment, watching)

    def _moved(self, spec: ProcessSpec, watching: _Watching) -> _Ended:
        with _serial, _moved_there(spec), _short_folder() as home:
            order = _order(
                home,
                self._argv(spec),
                self.path(spec.mounts[spec.starts_in]),
                {},
                has_namespaces=False,
                num_processes_before=spec.num_processes_before,
            )
            return _run((), order, spec.log, self._environment(spec, str(home)), watching)

    def _argv(self, spec: ProcessSpec) -> tuple[str, ...]:
        argv = render(spec, self)
        return (str(self._python) if argv[0] in {"python", "python3"} else argv[0], *argv[1:])

    def _kept(self, argv: tuple[str, ...], environment: Mapping[str, str]) -> list[dict[str, Any]]:
        """Of the folders that are covered: what the interpreter is made of, what a command or a variable names."""
        named = [part for text in (*argv, *environment.values()) for part in text.split(os.pathsep)]
        paths = {Path(text) for text in (*_search_paths(self._python), *named) if text.startswith(COVERED)}
        paths = {path for path in paths if str(path) not in COVERED and not path.is_relative_to(ROOT) and path.exists()}
        kept = sorted(path for path in paths if not paths & set(path.parents))
        return [_mount(path, str(path), is_writable=False) for path in kept]

    def _settings(self, spec: ProcessSpec) -> dict[str, JsonValue]:
        gpus: list[JsonValue] = [] if self._gpus is None else list(self._gpus.uuids)
        facts: dict[str, JsonValue] = {"isolation": "none", "python": str(self._python.name), "gpus": gpus}
        facts["network_mode"] = "none" if _NO_NETWORK in namespaces() else "host"
        return {**facts, "namespaces": True, "host_name": spec.host_name} if namespaces() else facts

    def _environment(self, spec: ProcessSpec, home: str) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("LD_LIBRARY_PATH",) if key in os.environ}
        path = f"{self._python.parent}:/usr/local/bin:/usr/bin:/bin"
        own = {**kept, "PATH": path, "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8"}
        # Empty hides every GPU: a process that asked for none sees none, as in a container.
        visible = "" if self._gpus is None else ",".join(self._gpus.uuids)
        return {**own, **gpu_defaults(self._gpus), **spec.environment, "CUDA_VISIBLE_DEVICES": visible}


class _Watching:
    """Looks at a running process, and ends it when somebody asked for it or its time is over."""

    def __init__(self, spec: ProcessSpec, watch: Watch, started: float) -> None:
        self._spec, self._watch, self._started = spec, watch, started
        self.was_killed = False
        self.error: str | None = None

    def __call__(self, process: subprocess.Popen[bytes]) -> None:
        if not self.was_killed and self._watch():
            self.was_killed = True
            _kill(process)
        if self.error is None and time.monotonic() - self._started > self._spec.timeout_s:
            self.error = f"it ran longer than timeout_s: {self._spec.timeout_s}"
            _kill(process)
        time.sleep(POLL_S)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all below it: a namespace ends with its first process, without one `host_init` has to do it."""
    with contextlib.suppress(ProcessLookupError):
        if namespaces():
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.terminate()


def _run(
    prefix: tuple[str, ...], order: dict[str, Any], log_path: Path, environment: Mapping[str, str], look: Any
) -> _Ended:
    """Start `host_init` with its order, and look at it until it has ended."""
    reading, writing = os.pipe()
    # Nobody writes to it: it is closed when this process ends, however it ends, and then all below has to end as well.
    lifeline, alive = os.pipe()
    told_to = {**order, "report": writing, "lifeline": lifeline}
    process = None
    try:
        log_path.write_bytes(b"")
        with log_path.open("ab") as log, deferred():  # appended to: what is cut off below leaves no hole
            process = subprocess.Popen(
                (*prefix, sys.executable, "-I", "-S", host_init.__file__, json.dumps(told_to)),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(writing, lifeline),
            )
        os.close(writing)
        writing = -1
        while process.poll() is None:
            look(process)
            if log_path.stat().st_size > LOG_BYTES:
                os.truncate(log_path, 0)
        told = os.read(reading, _REPORT_BYTES)
    finally:
        if process is not None and process.poll() is None:
            _kill(process)
            process.wait()
        for descriptor in (reading, writing, lifeline, alive):
            if descriptor >= 0:
                os.close(descriptor)
    if told:
        report = json.loads(told)
        return _Ended(exit_code=report["exit_code"], outlived=tuple(report["outlived"]), pid=process.pid)
    return _Ended(exit_code=process.returncode, outlived=(), pid=process.pid)


def _order(
    scratch: Path,
    argv: tuple[str, ...],
    folder: str,
    covered: Mapping[str, str | None],
    *,
    mounts: list[dict[str, Any]] | None = None,
    host_name: str = "",
    num_processes_before: int,
    has_namespaces: bool = True,
    elsewhere: Path | None = None,
) -> dict[str, Any]:
    """What `host_init` is told to do."""
    hosts = scratch / "hosts"
    if has_namespaces:
        known = Path("/etc/hosts").read_text("utf-8", "replace") if Path("/etc/hosts").is_file() else ""
        hosts.write_text(f"{known.rstrip()}\n127.0.0.1 localhost {host_name}\n", encoding="utf-8")
    return {
        "argv": argv,
        "folder": folder,
        "covered": covered,
        "mounts": mounts or [],
        "host_name": host_name,
        "hosts": str(hosts),
        "num_processes_before": num_processes_before,
        "has_namespaces": has_namespaces,
        "elsewhere": None if elsewhere is None else str(elsewhere.resolve()),
        "user": None if not has_namespaces or os.geteuid() == 0 else (os.geteuid(), os.getegid()),
    }


def _mount(source: Path, target: str, is_writable: bool) -> dict[str, Any]:
    return {"source": str(source), "target": target, "is_writable": is_writable}


def _elsewhere(folder: Path) -> dict[str, JsonValue]:
    """Which folders of the machine a training shared with everybody, and what it wrote outside of its mounts."""
    shared: list[JsonValue] = [] if os.geteuid() == 0 else ["the folders of other users"]
    written = _files(folder / "root", "")
    for layer in sorted(folder.glob(f"{host_init.LAYER}*")):
        place = unquote(layer.name.removeprefix(host_init.LAYER))
        if (layer / "shared").exists():
            shared.append(place)
            continue
        with contextlib.suppress(FileNotFoundError):  # a training that was ended before its layers were mounted
            (layer / "work" / "work").chmod(0o700)  # the kernel left no rights to it, and somebody has to delete it
        written += _files(layer / "upper", place)
    return {"shared_elsewhere": shared or None, "written_elsewhere": [*written[:MAX_NAMED]]}


def _files(folder: Path, place: str) -> list[str]:
    """The files of a layer by their paths on the machine; empty ones may be the places of mounts."""
    paths = (path for path in sorted(folder.rglob("*")) if "__pycache__" not in path.parts and not path.is_symlink())
    return [f"{place}/{path.relative_to(folder)}" for path in paths if path.is_file() and path.stat().st_size]


def _mounted(spec: ProcessSpec) -> list[Mount]:
    """The mounts, those below others after them."""
    return sorted((mount for mount in spec.mounts.values() if mount.is_mounted), key=lambda mount: mount.target)


@functools.cache
def _search_paths(python: Path) -> tuple[str, ...]:
    """The folders that an interpreter loads modules from."""
    code = "import sys; print('\\n'.join([sys.prefix, sys.exec_prefix, sys.base_prefix, *sys.path]))"
    try:
        found = subprocess.run(
            [str(python), "-c", code], capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=False, env={}
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(line for line in found.stdout.splitlines() if line.startswith("/"))


@contextlib.contextmanager
def _moved_there(spec: ProcessSpec) -> Iterator[None]:
    """Move a training's folders to where every training sees them, with links where they were; and back."""
    moved: list[tuple[Path, Path]] = []
    try:
        for mount in sorted(spec.mounts.values(), key=lambda mount: mount.target):
            if mount.at is None or os.path.lexists(mount.at):
                continue
            mount.at.parent.mkdir(parents=True, exist_ok=True)
            mount.source.rename(mount.at)
            moved.append((mount.source, mount.at))
            mount.source.symlink_to(mount.at)
        yield
    except OSError as error:
        raise HostError(f"a training's folders cannot be moved: {error}", "see the path that is named") from error
    finally:
        for source, at in reversed(moved):
            source.unlink(missing_ok=True)
            at.rename(source)
            with contextlib.suppress(OSError):  # others lie in them still
                os.removedirs(at.parent)


@contextlib.contextmanager
def _short_folder() -> Iterator[Path]:
    """A temporary folder with a short path, the same for every process that this one starts."""
    with temporary_folder(name=str(os.getpid())) as folder:
        home = folder / "h"  # beside the lock, which is no business of a training
        home.mkdir()
        yield home
