"""Templates: jinja2, with everything escaped that is not marked as ours; a name or a text can never become markup."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.report.curves import Curve
from harness.report.text import MAX_CHARS, MAX_ROWS
from harness.report.view import View

_LIMITS = ((MAX_ROWS, MAX_CHARS), (40, 300), (8, 80))


@functools.cache
def environment(escape: Callable[[str], str] | None = None) -> Environment:
    """Where templates come from; what is not Markup goes through `escape`, for None through that of HTML and XML."""
    own: dict[str, Any] = {"finalize": lambda value: _escaped(value, escape)} if escape else {}
    return Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **own,
    )


def _escaped(value: object, escape: Callable[[str], str]) -> object:
    return value if hasattr(value, "__html__") else Markup(escape(str(value)))


def fitting(
    render: Callable[[View], str],
    max_bytes: int,
    verdict: Verdict,
    manifest: Manifest | None,
    curves: Sequence[Curve] = (),
) -> str:
    """A page below `max_bytes`: with fewer rows and shorter texts where it takes that."""
    page = ""
    for max_rows, max_chars in _LIMITS:
        page = render(View(verdict, manifest, curves, max_rows=max_rows, max_chars=max_chars))
        if len(page.encode()) < max_bytes:
            break
    return page
