"""The first process around a training on the host: it arranges what the training sees, starts it, and leaves nothing.

`host` starts it by its path, with an order in JSON. Where the kernel gives it namespaces of its own, it mounts
everything at the paths that a container would have, gives the machine another name, and every process ends with it.
Where not, it only adopts what the training leaves behind, and ends it. It imports the standard library alone.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_RELATIME = 1, 2, 4, 32, 4096, 1 << 21
PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWUSER = 0x10000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
GRACE_S = 5.0
LOOK_EVERY_S = 0.02
MAX_NAMED = 5
_LIBC = ctypes.CDLL(None, use_errno=True)


def main(text: str) -> int:
    """Run the training of an order to its end, and write what became of it to the order's descriptor."""
    order = json.loads(text)
    os.set_inheritable(order["report"], False)
    signal.signal(signal.SIGTERM, _end_everything)
    if order["has_namespaces"]:
        _arrange(order)
    else:
        _LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for _ in range(order["num_processes_before"]):
        _use_up_a_process_id()
    training = _start(order)
    status = 0
    while True:
        pid, found = os.wait()
        if pid == training:
            status = found
            break
    code = os.waitstatus_to_exitcode(status)
    outlived = _outlived() if code >= 0 else []
    os.write(order["report"], json.dumps({"exit_code": code, "outlived": outlived}).encode())
    _kill_all()
    return 0


def _arrange(order: dict[str, Any]) -> None:
    """Folders of the training's own in the place of the shared ones, its mounts, and the machine's name."""
    # What lies below a folder that is covered is still reached through a descriptor.
    mounts = [(_opened(one["source"]), one) for one in order["mounts"]]
    covered = [(source and _opened(source), target) for target, source in order["covered"].items()]
    hosts = _opened(order["hosts"])
    for source, target in covered:
        if source is None:
            _mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
        else:
            _mount(source, target, None, MS_BIND)
    for source, one in mounts:
        target = Path(one["target"])
        if Path(source).is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        _mount(source, str(target), None, MS_BIND)
        if not one["is_writable"]:
            _make_read_only(str(target))
    _mount(hosts, "/etc/hosts", None, MS_BIND)
    socket.sethostname(order["host_name"])
    _bring_up_loopback()


def _opened(path: str) -> str:
    """A path by which a file or folder is found whatever is mounted above it."""
    return f"/proc/self/fd/{os.open(path, os.O_PATH | os.O_CLOEXEC)}"


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    arguments = (source.encode(), target.encode(), kind and kind.encode(), ctypes.c_ulong(flags), options.encode())
    if _LIBC.mount(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def _make_read_only(target: str) -> None:
    """As far as the kernel lets this user: what a training changes all the same is found when all is read again."""
    found = os.statvfs(target).f_flag
    kept = (found & 0b1110) | (found & (1024 | 2048)) | (MS_RELATIME if found & 4096 else 0)
    with contextlib.suppress(OSError):
        _mount("none", target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | kept)


def _bring_up_loopback() -> None:
    """In a network of its own a training still talks to itself, for instance its ranks to each other."""
    layout = "16sh22x"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        found = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack(layout, b"lo", 0))
        flags = struct.unpack(layout, found)[1]
        if not flags & IFF_UP:
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack(layout, b"lo", flags | IFF_UP))


def _use_up_a_process_id() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _start(order: dict[str, Any]) -> int:
    """The training, in a session of its own and, where a user namespace made this process root, as who started it."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        if order["user"] is not None:
            _become(*order["user"])
        os.chdir(order["folder"])
        os.execvp(order["argv"][0], order["argv"])
    except OSError as error:
        os.write(2, f"{order['argv'][0]}: {error.strerror}\n".encode())
    os._exit(127)


def _become(user: int, group: int) -> None:
    """Be shown as the user that one is outside: some programs refuse to be root."""
    if _LIBC.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "no user namespace")
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{user} 0 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{group} 0 1", encoding="ascii")


def _outlived() -> list[str]:
    """Commands of the processes that are still there some seconds after the training's end."""
    until = time.monotonic() + GRACE_S
    while (alive := list(_descendants())) and time.monotonic() < until:
        _reap()
        time.sleep(LOOK_EVERY_S)
    return [_command(pid) for pid in alive[:MAX_NAMED]]


def _descendants() -> Iterator[int]:
    """The processes below this one that have not ended."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            state, parent = path.read_text("utf-8", "replace").rpartition(")")[2].split()[:2]
            if state not in "ZX":
                parents[int(path.parent.name)] = int(parent)
    for pid in parents:
        above = parents[pid]
        while above in parents and above != os.getpid():
            above = parents[above]
        if above == os.getpid():
            yield pid


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return f"process {pid}"
    return " ".join(word.decode("utf-8", "backslashreplace") for word in words if word)[:200]


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _kill_all() -> None:
    """End every process below this one; new ones may appear, and change parents, while the others are looked at."""
    num_looks = 0
    while num_looks < 2:
        alive = list(_descendants())
        num_looks = 0 if alive else num_looks + 1
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _reap()
        time.sleep(LOOK_EVERY_S / 4)


def _end_everything(_number: int, _frame: FrameType | None) -> None:
    """The host kills the training: whatever is below goes first; the end of the training itself is seen by `main`."""
    for pid in _descendants():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
