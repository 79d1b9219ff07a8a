"""What images run: the interpreter and the platforms that the wheels in a lock are for."""

from __future__ import annotations

IMAGE_TARGET = "cp311-linux-x86_64"
PYTHON = "3.11"
GLIBC_MINOR = 36
"""Of glibc 2.36, Debian bookworm's."""

_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


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
