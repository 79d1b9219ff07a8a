"""What wheels are for: a series of CPython and a platform; which of them images run."""

from __future__ import annotations

import re
from dataclasses import dataclass

GLIBC_MINOR = 36
"""Of glibc 2.36, Debian bookworm's."""
IMAGE_PLATFORM = "linux-x86_64"
SERIES = ("3.10", "3.11", "3.12", "3.13")
"""The series of CPython that images may have."""

_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True, slots=True)
class Target:
    """A series of CPython, `3.11`, and a platform, `linux-x86_64`; as text `cp311-linux-x86_64`."""

    python: str
    platform: str = IMAGE_PLATFORM

    def __str__(self) -> str:
        return f"{self.abis[0]}-{self.platform}"

    @property
    def is_of_images(self) -> bool:
        """Whether there are images that run it."""
        return self.python in SERIES and self.platform == IMAGE_PLATFORM

    @property
    def abis(self) -> tuple[str, ...]:
        """The ABI tags of wheels that run on it, best first (PEP 425)."""
        return (f"cp{self.python.replace('.', '')}", "abi3", "none")


USUAL = Target("3.11")
"""That of a lock whose `.in` file names no Python, and of the base that comes with the package."""


def parse_target(text: str) -> Target | None:
    """Read a target's text; None where it is none."""
    found = re.fullmatch(r"cp([0-9])([0-9]{1,2})-(\S+)", text)
    return Target(f"{found[1]}.{found[2]}", found[3]) if found else None


def marker_environment(version: str) -> dict[str, str]:
    """What environment markers (PEP 508) see on the target with a full version of Python, `3.11.2`."""
    return {
        "implementation_name": "cpython",
        "implementation_version": version,
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": version,
        "python_version": ".".join(version.split(".")[:2]),
        "sys_platform": "linux",
    }


def platforms() -> tuple[str, ...]:
    """The platform tags of wheels that run on the target, best first (PEP 600 and the names that it replaced)."""
    names = []
    for minor in range(GLIBC_MINOR, 4, -1):
        names += [f"manylinux_2_{minor}", *([_OLD_NAMES[minor]] if minor in _OLD_NAMES else [])]
    return tuple(f"{name}_x86_64" for name in (*names, "linux"))


# The flags of /proc/cpuinfo that numerical libraries choose their kernels by.
ISA_FLAGS = (
    "sse4_1",
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512cd",
    "avx512dq",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "asimdhp",
    "sve",
    "sve2",
    "bf16",
    "i8mm",
)
