"""Inputs: what an experiment is given, each pinned with a sha256."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, get_args

from harness.errors import UsageError

Kind = Literal["file", "pypi", "deb"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_REFERENCE: dict[str, re.Pattern[str]] = {
    "pypi": re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"),
    "deb": re.compile(r"[a-z0-9][a-z0-9+.-]+"),
}
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+:~!_-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input: `/inputs/<name>` in a container.

    `reference` is a path below the project's root (`file`), or the name of a package (`pypi`, `deb`), of
    which the unpacked tree is the input. `sha256` is that of the file, the wheel or the `.deb`:
    `sha256:<hex>`. `version` is empty for a file.
    """

    name: str
    kind: Kind
    reference: str
    sha256: str
    version: str = ""


def check_input(value: Input) -> Input:
    """The input itself, when every field is well formed.

    Raises:
        UsageError: naming the field, what was found and what is expected.
    """
    where = f"input {value.name!r}"
    if not _NAME.fullmatch(value.name):
        raise UsageError(f"{where}: no such name for an input", "use letters, digits, dots, dashes and underscores")
    if value.kind not in get_args(Kind):
        raise UsageError(f"{where}: unknown kind {value.kind!r}", f"use one of {', '.join(get_args(Kind))}")
    if not _SHA256.fullmatch(value.sha256):
        raise UsageError(f"{where}: sha256 is {value.sha256!r}", "write sha256:<64 hex digits> of the file")
    if value.kind == "file":
        path = PurePosixPath(value.reference)
        if not value.reference or path.is_absolute() or ".." in path.parts or value.version:
            problem = f"{where}: {value.reference!r} is no path below the project"
            raise UsageError(problem, "give a relative path without `..`, and no version")
        return value
    if not _REFERENCE[value.kind].fullmatch(value.reference):
        raise UsageError(f"{where}: {value.reference!r} is no package name", "give the name of a package")
    if not _VERSION.fullmatch(value.version):
        raise UsageError(f"{where}: {value.version!r} is no exact version", f"pin {value.reference} to one version")
    return value
