"""Lines of requirements files, as pip reads them; a requirement by itself is read by `packaging`.

Reference: https://pip.pypa.io/en/stable/reference/requirements-file-format/
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from packaging.requirements import Requirement

_HASH = re.compile(r"\s--hash[= ](\S+)")


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with backslash continuations joined and comments removed, with the number of their first line."""
    parts: list[str] = []
    start = 0
    for number, raw in enumerate([*text.splitlines(), ""], start=1):
        line = re.sub(r"(^|\s)#.*$", "", raw).rstrip()
        start = start if parts else number
        parts.append(line.removesuffix("\\"))
        if not line.endswith("\\"):
            if joined := " ".join(parts).strip():
                yield start, joined
            parts = []


def without_hashes(line: str) -> tuple[str, tuple[str, ...]]:
    """A line without its `--hash` options, and their values."""
    return _HASH.sub("", f" {line}").strip(), tuple(_HASH.findall(f" {line}"))


def exact_version(requirement: Requirement) -> str:
    """The one version that a requirement is pinned to with `==` or `===`; "" if it is not."""
    exact = (one.version for one in requirement.specifier if one.operator in ("==", "==="))
    return next((version for version in exact if not version.endswith("*")), "")
