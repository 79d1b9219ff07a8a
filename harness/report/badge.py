"""badge.svg: the verdict as a small flat badge for a README or a paper's page; nothing is loaded.

How wide a text is depends on the reader's font, so every text is given its length: it is squeezed, never clipped.
"""

from __future__ import annotations

from harness.documents.verdict import Verdict
from harness.report.tables import Tone
from harness.report.templates import environment
from harness.report.view import View

# White on each of them has a contrast of at least 4.5 (WCAG 2.2, success criterion 1.4.3).
COLOURS: dict[Tone, str] = {"good": "#12694a", "bad": "#a4231d", "unsure": "#7c5300"}
LABEL_COLOUR = "#454a52"
HEIGHT = 20
_PAD = 7
_MAX_CHARS = 60
# Advance widths at 11 px of the widest of the fonts that the template names, rounded up.
_NARROW, _WIDE = "fijlrtI.,:;!|'()[]- ", "mwMW@%"


def render_badge(verdict: Verdict) -> str:
    """The badge of a verdict.

    What bounds the verdict stands in the badge: the steps of a prefix, what was set, and code that was never committed.
    """
    view = View(verdict, None, max_chars=200)
    label, message = "replay" if verdict.kind == "replay" else "reproducibility", _message(verdict)
    return (
        environment()
        .get_template("badge.svg")
        .render(
            title=f"{view.title}: {verdict.kind}: {message}",
            label=label,
            message=message,
            left=_width(label),
            right=_width(message),
            height=HEIGHT,
            pad=_PAD,
            label_colour=LABEL_COLOUR,
            colour=COLOURS[view.word.tone],
        )
    )


def _message(verdict: Verdict) -> str:
    bounds = [f"{verdict.scope.steps} of {verdict.scope.of} steps"] if verdict.scope else []
    bounds += verdict.overrides
    bounds += ["uncommitted code"] if verdict.dirty else []
    message = f"{verdict.verdict} ({', '.join(bounds)})" if bounds else verdict.verdict
    return message if len(message) <= _MAX_CHARS else f"{message[: _MAX_CHARS - 4]} ..."


def _width(text: str) -> int:
    """Pixels of a text with its margins."""
    widths = (4.9 if c in _NARROW else 10.8 if c in _WIDE else 8.2 if c.isupper() else 7.0 for c in text)
    return round(sum(widths)) + 2 * _PAD
