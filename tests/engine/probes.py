"""What a training might try on its machine, in a container of the harness's or in one without guards.

Each probe says whether it was refused: with EPERM, where a filter or a missing right forbids it; else the kernel does
it, or complains of what it was given. What a training needs is tried as well.
"""

import ctypes
import errno
import json
import multiprocessing
import os
import platform
import signal
import socket
import sys
import threading

libc = ctypes.CDLL(None, use_errno=True)
PLACE = ("x86_64", "aarch64").index(platform.machine())
NUMBERS = {
    "ptrace": (101, 117),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "kexec_load": (246, 104),
    "io_uring_setup": (425, 425),
    "unshare": (272, 97),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "pidfd_getfd": (438, 438),
    "clone": (56, 220),
    "personality": (135, 92),
    "open_by_handle_at": (304, 265),
}


def call(name, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(NUMBERS[name][PLACE], *map(ctypes.c_long, arguments))
    return result, ctypes.get_errno()


def is_refused(name, *arguments):
    result, number = call(name, *arguments)
    return result == -1 and number == errno.EPERM


def has_no_socket(family):
    try:
        socket.socket(family, socket.SOCK_RAW if family == 17 else socket.SOCK_STREAM if family != 38 else 5).close()
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def forks_no_namespace():
    result, number = call("clone", 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
    if result == 0:
        os._exit(0)
    if result > 0:
        os.waitpid(result, 0)
    return result == -1 and number == errno.EPERM


def is_read_only():
    try:
        open("/written", "w").close()
    except OSError as error:
        return error.errno in (errno.EROFS, errno.EACCES)
    return False


def in_a_child(probe):
    """Who is traced stops at signals, so nobody else is."""
    pid = os.fork()
    if pid == 0:
        os._exit(probe())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def refused():
    status = dict(line.rstrip().split(":\t", 1) for line in open("/proc/self/status") if ":\t" in line)
    return {
        "AF_VSOCK": has_no_socket(40),
        "AF_ALG": has_no_socket(38),
        "AF_PACKET": has_no_socket(17),
        "io_uring": is_refused("io_uring_setup", 0, 0),
        "ptrace": in_a_child(lambda: is_refused("ptrace", 0, 0, 0, 0)),
        "keyctl": is_refused("keyctl", 0, -2, 1),
        "add_key": is_refused("add_key", 0, 0, 0, 0, 0),
        "request_key": is_refused("request_key", 0, 0, 0, 0),
        "bpf": is_refused("bpf", 999, 0, 0),
        "userfaultfd": is_refused("userfaultfd", 0),
        "perf_event_open": is_refused("perf_event_open", 0, 0, -1, -1, 0),
        "kexec": is_refused("kexec_load", 0, 0, 0, 0xFFFF),
        "unshare": is_refused("unshare", 0x08000000),
        "namespaces": forks_no_namespace(),
        "setns": is_refused("setns", -1, 0),
        "other memory": is_refused("process_vm_readv", os.getpid(), 0, 0, 0, 0, 0),
        "other files": is_refused("pidfd_getfd", -1, 0, 0),
        "by handle": is_refused("open_by_handle_at", -1, 0, 0),
        "read-only root": is_read_only(),
        "capabilities": int(status["CapEff"], 16) == 0,
        "bounding set": int(status["CapBnd"], 16) == 0,
        "new privileges": status["NoNewPrivs"] == "1",
        "system calls": status["Seccomp"] == "2",
        "user": os.getuid() != 0,
        "network": os.listdir("/sys/class/net") == ["lo"],
    }


def arm(folder):
    open(folder + "/armed", "w").close()
    os.chmod(folder + "/armed", 0o6755)
    os.mkdir(folder + "/folder")
    os.chmod(folder + "/folder", 0o2755)


def needed():
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_NETLINK):
        socket.socket(family, socket.SOCK_DGRAM).close()
    server = socket.create_server(("127.0.0.1", 0))
    socket.create_connection(server.getsockname()).close()
    assert multiprocessing.get_context("spawn").Pool(1).apply(abs, (-1,)) == 1
    assert libc.mlock(ctypes.create_string_buffer(4096), 4096) == 0
    assert call("personality", 0xFFFFFFFF)[0] != -1
    os.memfd_create("x")
    return True


if __name__ == "__main__":
    arm(sys.argv[1])
    json.dump({"refused": refused(), "needed": needed()}, open(sys.argv[1] + "/found.json", "w"))
