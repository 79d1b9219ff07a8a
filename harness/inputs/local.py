"""Files and folders that lie on this machine: inputs by their path, copied into the cache as they are used."""

from __future__ import annotations

from pathlib import Path

from harness.documents.inputs import Input
from harness.errors import UsageError
from harness.inputs.trees import listing, text_digest
from harness.system.store import file_digest

_NOT_THE_INPUT = (".cache", ".git")
"""At the top of a model's folder: what `hf download` and git keep there."""


def local_digest(value: Input, root: Path) -> str | None:
    """The sha256 of what lies at an input's path, as an experiment pins it; None where nothing does.

    Raises:
        UsageError: it is a folder where a file is declared, or the other way round, or cannot be an input.
    """
    path = root / value.reference
    if not path.exists():
        return None
    kind = "folder" if path.is_dir() else "file" if path.is_file() else "device"
    if kind != value.kind:
        remedy = f"declare it as `{kind}:`" if kind != "device" else "an input is a file or a folder"
        raise UsageError(f"input {value.name!r}: {value.reference} is a {kind}", remedy)
    return file_digest(path) if kind == "file" else text_digest(local_listing(path))


def local_listing(folder: Path) -> str:
    """What `sha256sum` prints for a folder's files; a link to a file is that file, as in the hub's own cache.

    Raises:
        UsageError: it holds a link to a folder or to nothing, a device, or a name that no input's file may have.
    """
    return listing(folder, links="follow", without=_NOT_THE_INPUT)


def mismatch(value: Input, found: str) -> UsageError:
    """What an input is, where the experiment pins something else or nothing."""
    shown = f"input {value.name!r} ({value.reference} {value.version}".rstrip() + ")"
    if not value.sha256:
        return UsageError(f"{shown} has no sha256\n  found:    {found}", "write it into the experiment")
    problem = f"{shown} is not what the experiment pins\n  expected: {value.sha256}\n  found:    {found}"
    return UsageError(problem, "find out which of the two is right; only then change the experiment's sha256")
