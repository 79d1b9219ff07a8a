"""Where this user's keys lie, what they may be called, and how their files are written.

Source: https://specifications.freedesktop.org/basedir-spec/latest/.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from harness.errors import UsageError
from harness.system.store import disk_errors

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def config_folder() -> Path:
    """Where this user's keys lie; a relative `XDG_CONFIG_HOME` is ignored, as its specification demands."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path(os.environ.get("HOME") or "/root") / ".config"
    return base / "repro-harness"


def check_name(name: str) -> None:
    """Whether a key may be called so.

    Raises:
        UsageError: it may not; a name is part of a file's.
    """
    if not NAME.fullmatch(name):
        problem = f"{name[:80]!r} cannot be the name of a key"
        raise UsageError(problem, "use up to 64 of a-z 0-9 . _ - and begin with a letter or a digit")


def make_subfolder(name: str, mode: int) -> Path:
    """A folder below `config_folder()`, made with this mode if it is not there.

    Raises:
        HostError: it cannot be made.
    """
    folder = config_folder() / name
    with disk_errors("making the folder of keys"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=mode, exist_ok=True)
    return folder


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that must not be there yet; nobody else can read it at any moment, unless the mode says so."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
