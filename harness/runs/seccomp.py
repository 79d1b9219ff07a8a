"""Which system calls a container may make, as a seccomp profile of the form that engines take.

What a training needs is allowed by name, and nothing else: what a kernel learns tomorrow is not, either. Docker's own
profile allows more of what has been broken before: io_uring, ptrace, sockets of every family but one. `ioctl` and
`mlock` are what CUDA works with. The names are the kernel's (syscalls(2)); those that a machine lacks are passed over.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.documents.digest import sha256
from harness.system.engine import ProfileForm
from harness.system.held import temporary_folder

_FILES = """
access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fremovexattr
fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd getdents getdents64 getxattr inotify_add_watch inotify_init
inotify_init1 inotify_rm_watch ioctl lchown lgetxattr link linkat listxattr llistxattr lremovexattr lseek lsetxattr
lstat mkdir mkdirat mknod mknodat newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read
readahead readlink readlinkat readv removexattr rename renameat renameat2 rmdir sendfile setxattr splice stat statfs
statx symlink symlinkat sync sync_file_range syncfs tee truncate umask unlink unlinkat utime utimensat utimes vmsplice
write writev io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit landlock_add_rule
landlock_create_ruleset landlock_restrict_self
"""
_WAITING = """
alarm clock_getres clock_gettime clock_nanosleep epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2
epoll_wait eventfd eventfd2 futex futex_requeue futex_wait futex_waitv futex_wake getitimer gettimeofday nanosleep
pause pipe pipe2 poll ppoll pselect6 select setitimer signalfd signalfd4 time timer_create timer_delete
timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times
"""
_MEMORY = """
brk madvise map_shadow_stack membarrier memfd_create mincore mlock mlock2 mlockall mmap mprotect mremap mseal msync
munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages mq_getsetattr mq_notify mq_open
mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop shmat shmctl shmdt
shmget
"""
_PROCESSES = """
arch_prctl capget capset execve execveat exit exit_group fork get_robust_list get_thread_area getcpu getegid geteuid
getgid getgroups getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid
gettid getuid ioprio_get ioprio_set kill pidfd_open pidfd_send_signal prctl prlimit64 restart_syscall rseq
rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo
sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp
set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setpgid setpriority setregid
setresgid setresuid setreuid setrlimit setsid setuid sigaltstack sysinfo tgkill tkill uname vfork wait4 waitid
"""
_SOCKETS = """
accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg
sendto setsockopt shutdown socketpair
"""
_FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: ranks talk, and ask for the machine's addresses
_NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)  # Linux on 32 and 64 bits, each as kernel 2.6; and to ask
_ENOSYS = 38


@functools.cache
def profile() -> str:
    """The profile, as JSON."""
    names = f"{_FILES} {_WAITING} {_MEMORY} {_PROCESSES} {_SOCKETS}".split()
    rules = [
        _rule(names),
        *(_rule(["socket"], value=family, op="SCMP_CMP_EQ") for family in _FAMILIES),
        *(_rule(["personality"], value=value, op="SCMP_CMP_EQ") for value in _PERSONALITIES),
        _rule(["clone"], value=_NEW_NAMESPACES, op="SCMP_CMP_MASKED_EQ"),
        # Its flags lie in memory, where no filter sees them: C libraries take `clone` where there is no such call.
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS},
    ]
    return json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}, separators=(",", ":"), sort_keys=True)


@contextlib.contextmanager
def as_options(folder: Path, form: ProfileForm) -> Iterator[list[str]]:
    """The profile as security options of an engine; a file with it lies below `folder` meanwhile, if it takes one."""
    if form != "path":
        yield [f"seccomp={profile()}"] if form == "text" else []
        return
    with temporary_folder(parent=folder) as temporary:
        (temporary / "seccomp.json").write_text(profile(), encoding="ascii")
        yield [f"seccomp={temporary / 'seccomp.json'}"]


def named(option: str) -> str:
    """A security option with the digest of a profile in its place, as a manifest has it."""
    key, _, value = option.partition("=")
    with contextlib.suppress(OSError):
        if key == "seccomp" and value.startswith("/"):
            value = Path(value).read_text("utf-8", "replace")
    return f"{key}={sha256(value.encode())}" if key == "seccomp" and value.startswith("{") else option


def _rule(names: list[str], *, value: int | None = None, op: str = "") -> dict[str, Any]:
    compared = {"index": 0, "value": value, "valueTwo": 0, "op": op}
    return {"names": names, "action": "SCMP_ACT_ALLOW", "args": [] if value is None else [compared]}
