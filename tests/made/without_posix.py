"""A command of the harness on a Python without what only POSIX has: `-m tests.made.without_posix verify ...`."""

import importlib
import os
import signal
import sys

# What others ship has files of its own for each system: it is imported while everything is here.
OTHERS = (
    "click cryptography.hazmat.primitives.serialization jinja2 matplotlib.figure multiprocessing numpy pydantic "
    "requests rich.console subprocess tarfile yaml"
)
MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "termios")
FUNCTIONS = (
    "O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK chown fchmod fork forkpty getegid geteuid getgid getuid killpg "
    "mkfifo pread pwrite sched_getaffinity sched_setaffinity setsid sysconf"
)
SIGNALS = "SIGALRM SIGCHLD SIGHUP SIGKILL SIGPIPE SIGQUIT SIGXFSZ alarm pthread_kill pthread_sigmask setitimer"

for name in OTHERS.split():
    importlib.import_module(name)
assert not any(name.startswith("harness") for name in sys.modules)
sys.modules.update(dict.fromkeys(MODULES))  # type: ignore[arg-type]  # importing them fails
for module, names in ((os, FUNCTIONS), (signal, SIGNALS)):
    for name in names.split():
        delattr(module, name)
os.supports_dir_fd = set()

importlib.import_module("harness.cli").main()
