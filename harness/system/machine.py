"""The machine as it stands in a manifest: processor, memory, system, GPUs."""

from __future__ import annotations

import hashlib
import hmac
import os
import platform
import re
from pathlib import Path
from typing import Any

from harness.documents.platform import ISA_FLAGS
from harness.system import gpu

_APPLICATION = b"repro-harness"


def host_facts() -> dict[str, Any]:
    """The machine, for the manifest: CPU model and instruction sets, memory, system, and the GPUs with their driver.

    `machine_id` is made of /etc/machine-id as sd_id128_get_machine_app_specific(3) does it, so that nobody can tell the
    machine by it who does not ask that machine; None where there is no such file.
    """
    return {
        "cpu": cpu_model(),
        "isa": isa_flags(_cpu_line(r"flags|Features")),
        "machine_id": _machine_id(),
        "cores": os.cpu_count(),
        "memory_bytes": memory_bytes(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "system": _system(),
        "gpus": gpu.inventory().to_json(),
    }


def cpu_model() -> str:
    return _cpu_line("model name") or platform.processor() or "unknown"


def _cpu_line(name: str) -> str:
    """A line of the first processor in /proc/cpuinfo, or ""."""
    found = re.search(rf"^(?:{name})[ \t]*:(.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return found[1].strip() if found else ""


def _machine_id() -> str | None:
    digits = _read("/etc/machine-id").strip()
    if not re.fullmatch(r"[0-9a-f]{32}", digits):
        return None
    return hmac.new(bytes.fromhex(digits), _APPLICATION, hashlib.sha256).hexdigest()[:16]


def memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _system() -> str:
    for line in _read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def isa_flags(flags: str) -> list[str]:
    """Of the flags that /proc/cpuinfo lists, those that numerical libraries look at."""
    found = frozenset(flags.split())
    return [flag for flag in ISA_FLAGS if flag in found]
