"""Names of experiments: what EXP= takes."""

from __future__ import annotations

import difflib
import re

from harness.errors import UsageError

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def check_name(name: str, known: tuple[str, ...]) -> str:
    """The name of an experiment that exists.

    Raises:
        UsageError: it is no name, or there is no such experiment; the nearest names are given.
    """
    if NAME.fullmatch(name) and name in known:
        return name
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.4)
    wanted = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(sorted(known)) or 'none'}"
    raise UsageError(f"there is no experiment {name[:80]!r}", f"{wanted} (files in pipelines/experiments/)")
