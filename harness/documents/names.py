"""Names: of experiments, which is what EXP= takes, and of images."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from harness.errors import UsageError

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_IMAGE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def check_experiment_name(name: str, known: tuple[str, ...]) -> str:
    """The name of an experiment that exists.

    Raises:
        UsageError: it is no name, or there is no such experiment; the nearest names are given.
    """
    if NAME.fullmatch(name) and name in known:
        return name
    raise no_such("experiment", name, known, "files in pipelines/experiments/")


def no_such(kind: str, name: str, known: Iterable[str], where: str) -> UsageError:
    """There is nothing of that name; the error gives the nearest names, or all."""
    near = difflib.get_close_matches(name.lower(), known := sorted(known), n=3, cutoff=0.4)
    wanted = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known) or 'none'}"
    return UsageError(f"there is no {kind} {name[:80]!r}", f"{wanted} ({where})")


def check_image_name(name: str) -> str:
    """The name of an image, as it stands in a path and a tag.

    Raises:
        UsageError: it is no such name.
    """
    if not _IMAGE_NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a name for an image", "use lower-case letters, digits, dots and dashes")
    return name
