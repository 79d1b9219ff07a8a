"""Names: of experiments, which is what EXP= takes, and of images."""

from __future__ import annotations

import difflib
import re

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
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.4)
    wanted = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(sorted(known)) or 'none'}"
    raise UsageError(f"there is no experiment {name[:80]!r}", f"{wanted} (files in pipelines/experiments/)")


def check_image_name(name: str) -> str:
    """The name of an image, as it stands in a path and a tag.

    Raises:
        UsageError: it is no such name.
    """
    if not _IMAGE_NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a name for an image", "use lower-case letters, digits, dots and dashes")
    return name
