"""The first process around a training on the host: it arranges what the training sees, starts it, and leaves nothing.

`host` starts it by its path, with an order in JSON. Where the kernel gives it namespaces of its own, it mounts
everything at the paths that a container would have, gives the machine another name, and every process ends with it.
The rest of the machine's files it shows as they are, and what is written there goes to a folder of the training's own.
Where not, it only adopts what the training leaves behind, and ends it. When the harness ends before the training, by
whatever signal, the other end of the order's `lifeline` is closed, and all ends. It imports the standard library alone.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import platform
import re
import signal
import socket
import stat
import struct
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple
from urllib.parse import quote

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_RELATIME = 1, 2, 4, 32, 4096, 1 << 14, 1 << 21
MNT_DETACH = 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}.get(platform.machine())
MAX_ENTRIES = 1000
DEPTH = 3  # how far below a folder of somebody else one of the user's own is looked for
OF_THE_MACHINE = ("/proc", "/sys", "/dev", "/run")  # devices, sockets and what the kernel tells: shown as they are
LAYER = "layer-"  # and the place, as in an address: `upper` has what was written, `work` the kernel's own
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
CLONE_NEWUSER = 0x10000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
GRACE_S = 5.0
LOOK_EVERY_S = 0.02
MAX_NAMED = 5
_LIBC = ctypes.CDLL(None, use_errno=True)


def main(text: str) -> int:
    """Run the training of an order to its end, and write what became of it to the order's descriptor."""
    order = json.loads(text)
    for descriptor in (order["report"], order["lifeline"]):
        os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGTERM, _end_everything)
    if order["has_namespaces"]:
        _arrange(order)
    else:
        _LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for _ in range(order["num_processes_before"]):
        _use_up_a_process_id()
    training = _start(order)
    threading.Thread(target=_end_with_the_harness, args=(order["lifeline"],), daemon=True).start()
    status = 0
    while True:
        pid, found = os.wait()
        if pid == training:
            status = found
            break
    code = os.waitstatus_to_exitcode(status)
    outlived = _outlived() if code >= 0 else []
    with contextlib.suppress(BrokenPipeError):  # the harness was killed
        os.write(order["report"], json.dumps({"exit_code": code, "outlived": outlived}).encode())
    _kill_all()
    return 0


def _arrange(order: dict[str, Any]) -> None:
    """Folders of the training's own in the place of the shared ones, its mounts, and the machine's name."""
    # What lies below a folder that is covered is still reached through a descriptor.
    mounts = [(_opened(one["source"]), one) for one in order["mounts"]]
    covered = [(source and _opened(source), target) for target, source in order["covered"].items()]
    hosts = _opened(order["hosts"])
    is_private = order["elsewhere"] and PIVOT_ROOT is not None
    is_root = order["user"] is None
    root = _own_root(Path(order["elsewhere"]), order["covered"], is_root=is_root) if is_private else ""
    for source, target in covered:
        if source is None:
            _mount("tmpfs", root + target, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
        else:
            _mount(source, root + target, None, MS_BIND)
    for source, one in mounts:
        target = Path(root + one["target"])
        if Path(source).is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        _mount(source, str(target), None, MS_BIND)
        if not one["is_writable"]:
            _make_read_only(str(target))
    _mount(hosts, f"{root}/etc/hosts", None, MS_BIND)
    if root:
        _enter(root)
    socket.sethostname(order["host_name"])
    _bring_up_loopback()


def _own_root(folder: Path, covered: Iterable[str], *, is_root: bool) -> str:
    """Show the machine's files once more, so that what is written there goes to `folder`; return the new root."""
    root = folder / "root"
    root.mkdir(parents=True, exist_ok=True)
    lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    mounted = {re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), line.split()[4]) for line in lines}
    _mount(str(root), str(root), None, MS_BIND)
    _show(Path("/"), _Layers(folder, root, mounted, {*covered}, is_root))
    return str(root)


class _Layers(NamedTuple):
    """Where layers lie, the new root, the paths of all mounts, and the folders of which only a place is wanted."""

    folder: Path
    root: Path
    mounted: set[str]
    covered: set[str]
    is_root: bool


def _show(place: Path, to: _Layers) -> None:
    """Show a folder as it is: with a layer over it, its entries one by one where some need their own, or shared."""
    if str(place) in to.covered:
        return
    target = to.root / place.relative_to("/")
    target.chmod(stat.S_IMODE(place.stat().st_mode))
    entries = [] if str(place) in OF_THE_MACHINE else _apart(place, to, DEPTH)
    if entries:
        for entry in entries:
            _show_entry(entry, target / entry.name, to)
    elif str(place) in OF_THE_MACHINE or not _add_layer(place, to):
        with contextlib.suppress(OSError):  # what this user may not mount is not there
            _mount(str(place), str(target), None, MS_BIND | MS_REC)


def _apart(place: Path, to: _Layers, depth: int) -> list[os.DirEntry[str]]:
    """The entries of a folder over which no layer serves, if any below it may have one.

    A layer shows one file system. Who is not root may not mount it above another, and can copy nothing into it that
    lies in a folder of somebody else.
    """
    is_above = any(one.startswith(f"{place}/".replace("//", "/")) for one in to.mounted - {"/"})
    if not is_above and (_is_own(place, to) or not depth):
        return []
    try:
        entries = [*os.scandir(place)]
    except OSError:
        return []
    if len(entries) > MAX_ENTRIES:
        return []
    folders = (Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    is_needed = is_above or any(_is_own(one, to) or _apart(one, to, depth - 1) for one in folders)
    return entries if is_needed else []


def _is_own(place: Path, to: _Layers) -> bool:
    """Say whether this user may have a layer over a folder; who started a user namespace is root in it."""
    with contextlib.suppress(OSError):
        return to.is_root or place.stat().st_uid == 0
    return False


def _show_entry(entry: os.DirEntry[str], copy: Path, to: _Layers) -> None:
    if entry.is_symlink():
        with contextlib.suppress(FileExistsError):
            copy.symlink_to(Path(entry.path).readlink())
    elif entry.is_dir():
        copy.mkdir(exist_ok=True)
        with contextlib.suppress(OSError):
            _show(Path(entry.path), to)
    elif entry.is_file():
        copy.touch()
        with contextlib.suppress(OSError):
            _mount(entry.path, str(copy), None, MS_BIND)


def _add_layer(place: Path, to: _Layers) -> bool:
    """Mount a folder, with a layer of its own for what is written, and say whether the kernel took it."""
    layer = to.folder / f"{LAYER}{quote(str(place), safe='')}"
    shared = layer / "shared"
    if not _is_own(place, to):
        return False
    try:
        status = place.stat()
        for path in (layer / "upper", layer / "work"):
            path.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            os.chown(layer / "upper", status.st_uid, status.st_gid)
        (layer / "upper").chmod(stat.S_IMODE(status.st_mode))
        parts = {"lowerdir": place, "upperdir": layer / "upper", "workdir": layer / "work"}
        # By descriptors, for a path may hold what separates options.
        options = ",".join(f"{key}={_opened(str(path))}" for key, path in parts.items())
        _mount("overlay", str(to.root / place.relative_to("/")), "overlay", 0, f"userxattr,{options}")
    except OSError:
        shared.touch()
        return False
    return True


def _enter(root: str) -> None:
    """Make a folder the root of this process, and let go of the old one."""
    os.chdir(root)
    if _LIBC.syscall(ctypes.c_long(PIVOT_ROOT or 0), b".", b".") or _LIBC.umount2(b".", MNT_DETACH):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), root)
    os.chdir("/")


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


def _end_with_the_harness(lifeline: int) -> None:
    """Wait until nobody holds the other end, then end all; a namespace of processes ends with this one, too."""
    while os.read(lifeline, 1):
        pass
    _kill_all(is_reaped=False)  # which is what the other thread waits for
    os._exit(1)


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
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
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
    while (alive := sorted(_descendants())) and time.monotonic() < until:
        _reap()
        time.sleep(LOOK_EVERY_S)
    return [_command(pid) for pid in alive[:MAX_NAMED]]


def _descendants() -> set[int]:
    """The processes below this one that have not ended.

    One look may miss a process whose parent ends meanwhile.
    """
    return {*_look(), *_look()}


def _look() -> Iterator[int]:
    parents: dict[int, int] = {}
    ended: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            state, parent = path.read_text("utf-8", "replace").rpartition(")")[2].split()[:2]
            parents[int(path.parent.name)] = int(parent)
            if state in "ZX":
                ended.add(int(path.parent.name))
    for pid in parents.keys() - ended:
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


def _kill_all(*, is_reaped: bool = True) -> None:
    """End every process below this one; new ones may appear while the others are ended."""
    while alive := _descendants():
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if is_reaped:
            _reap()
        time.sleep(LOOK_EVERY_S / 4)


def _end_everything(_number: int, _frame: FrameType | None) -> None:
    """The host kills the training: whatever is below goes first; the end of the training itself is seen by `main`."""
    for pid in _descendants():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
