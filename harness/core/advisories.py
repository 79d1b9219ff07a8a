"""Container escapes that are known of the programs under a GPU container, as data: which versions of what they hit.

A version below is upstream's. Distributions mend old versions without changing that number, so a hit is a reason to
look the package up in the distribution's security tracker, never a proof.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from packaging.version import Version

Component = Literal["nvidia-container-toolkit", "runc"]
# What follows the upstream version: an epoch goes before, `-1`, `+ds1-1+deb12u1` or `~ds1` behind it.
_UPSTREAM = re.compile(r"(?:^|[\s:v])(\d+\.\d+\.\d+)(?:[-~]?rc[.-]?(\d+))?(?![\d.])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """One published weakness that lets a container out.

    Attributes:
        id: its CVE number.
        fixed: the first version with the fix on each branch that got one, oldest first.
        title: what it allows, in a few words.
        source: where the fixed versions are published.
        is_absent_with_cdi: whether the publisher says that devices handed out by CDI are not affected.
    """

    id: str
    component: Component
    fixed: tuple[str, ...]
    title: str
    source: str
    is_absent_with_cdi: bool = False


_NVIDIA = "https://nvidia.custhelp.com/app/answers/detail/a_id"
_RUNC = "https://github.com/opencontainers/runc/security/advisories"
_RUNC_2025 = ("1.2.8", "1.3.3", "1.4.0rc3")
ADVISORIES: tuple[Advisory, ...] = (
    Advisory(
        id="CVE-2024-0132",
        component="nvidia-container-toolkit",
        fixed=("1.16.2",),
        title="a crafted image reaches the host's file system",
        source=f"{_NVIDIA}/5582",
        is_absent_with_cdi=True,
    ),
    Advisory(
        id="CVE-2025-23359",
        component="nvidia-container-toolkit",
        fixed=("1.17.4",),
        title="a crafted image reaches the host's file system (the fix of CVE-2024-0132 was not complete)",
        source=f"{_NVIDIA}/5616",
        is_absent_with_cdi=True,
    ),
    Advisory(
        id="CVE-2025-23266",
        component="nvidia-container-toolkit",
        fixed=("1.17.8",),
        title="an image runs code as root in the hooks that start a container",
        source=f"{_NVIDIA}/5659",
    ),
    Advisory(
        id="CVE-2025-23267",
        component="nvidia-container-toolkit",
        fixed=("1.17.8",),
        title="an image's links lead the update-ldcache hook to files outside",
        source=f"{_NVIDIA}/5659",
    ),
    Advisory(
        id="CVE-2026-24260",
        component="nvidia-container-toolkit",
        fixed=("1.19.1",),
        title="a race between check and use lets code run with more rights",
        source=f"{_NVIDIA}/5850",
    ),
    Advisory(
        id="CVE-2024-21626",
        component="runc",
        fixed=("1.1.12",),
        title="a leaked file descriptor leads into the host's file system",
        source=f"{_RUNC}/GHSA-xr7r-f8xq-vfvv",
    ),
    Advisory(
        id="CVE-2025-31133",
        component="runc",
        fixed=_RUNC_2025,
        title="masked paths can be replaced, which opens /proc for writing",
        source=f"{_RUNC}/GHSA-9493-h29p-rfm2",
    ),
    Advisory(
        id="CVE-2025-52565",
        component="runc",
        fixed=_RUNC_2025,
        title="the mount of /dev/console can be led astray, which opens /proc for writing",
        source=f"{_RUNC}/GHSA-qw9x-cqr3-wc7r",
    ),
    Advisory(
        id="CVE-2025-52881",
        component="runc",
        fixed=_RUNC_2025,
        title="writes to /proc can be led astray, past the security modules",
        source=f"{_RUNC}/GHSA-cgrx-mc8f-2prm",
    ),
)


def upstream_version(text: str) -> Version | None:
    """The upstream version in what a program or a package says of itself.

    `1.1.5+ds1-1+deb12u1` and `runc version 1.1.5+ds1` are 1.1.5, `1.4.0-rc.3` is 1.4.0rc3; None if there is none.
    """
    found = _UPSTREAM.search(text[:400])
    if found is None:
        return None
    return Version(found[1] + (f"rc{found[2]}" if found[2] else ""))


def affecting(component: Component, version: Version) -> tuple[Advisory, ...]:
    """The advisories that hit an upstream version of a component, in the table's order."""
    return tuple(one for one in ADVISORIES if one.component == component and not _is_fixed(one, version))


def _is_fixed(advisory: Advisory, version: Version) -> bool:
    """Fixed on the version's own branch, or on an older one and therefore in every branch begun after the newest."""
    fixed = [Version(text) for text in advisory.fixed]
    own = [fix for fix in fixed if fix.release[:2] == version.release[:2]]
    return version >= (own[0] if own else fixed[-1])
