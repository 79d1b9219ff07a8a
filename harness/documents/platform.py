"""What images run: the interpreter and the platforms that the wheels in a lock are for."""

from __future__ import annotations

IMAGE_TARGET = "cp311-linux-x86_64"
PYTHON = "3.11"
GLIBC_MINOR = 36
"""Of glibc 2.36, Debian bookworm's."""

_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


def abis(python: str) -> tuple[str, ...]:
    """The ABI tags of wheels that run on a series of CPython, `3.11`, best first (PEP 425)."""
    return (f"cp{python.replace('.', '')}", "abi3", "none")


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
