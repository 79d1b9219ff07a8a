"""badge.svg: the verdict as a small flat badge for a README or a paper's page; nothing is loaded.

How wide a text is depends on the reader's font, so every text is given its length: it is squeezed, never clipped.
"""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape, quoteattr

from harness.report import wording
from harness.report.fields import document, line

# White on each of them has a contrast of at least 4.5 (WCAG 2.2, success criterion 1.4.3).
COLOURS = {
    "CERTIFIED": "#12694a",
    "DIVERGED": "#a4231d",
    "TAMPERED": "#a4231d",
    "VETOED": "#a4231d",
    "INCONCLUSIVE": "#7c5300",
}
LABEL_COLOUR = "#454a52"
HEIGHT = 20
_PAD = 7
_MAX_CHARS = 60
# Advance widths at 11 px of the widest of the fonts named below, rounded up.
_NARROW, _WIDE = "fijlrtI.,:;!|'()[]- ", "mwMW@%"
_FONTS = "Verdana,DejaVu Sans,Geneva,sans-serif"


def render_badge(verdict: dict[str, Any]) -> str:
    """The badge of any verdict, even of an empty one; every text in it is escaped.

    What bounds the verdict stands in the badge: the steps of a prefix, and code that was never committed.
    """
    verdict = document(verdict, max_rows=20, max_chars=200)
    word = wording.overall(verdict)
    label, message = "replay" if wording.is_replay(verdict) else "reproducibility", _message(verdict, word)
    left, right = _width(label), _width(message)
    title = f"{wording.title_of(verdict)}: {wording.kind_of(verdict)}: {message}"
    texts = _text(label, 0, left) + _text(message, left, right)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{HEIGHT}" role="img"'
        f" aria-label={quoteattr(title)}>\n"
        f"<title>{escape(title)}</title>\n"
        f'<clipPath id="r"><rect width="{left + right}" height="{HEIGHT}" rx="3"/></clipPath>\n'
        f'<g clip-path="url(#r)"><rect width="{left}" height="{HEIGHT}" fill="{LABEL_COLOUR}"/>'
        f'<rect x="{left}" width="{right}" height="{HEIGHT}" fill="{COLOURS[word]}"/></g>\n'
        f'<g fill="#fff" text-anchor="middle" font-family="{_FONTS}" font-size="11">\n{texts}</g>\n'
        "</svg>\n"
    )


def _message(verdict: dict[str, Any], word: str) -> str:
    scope = verdict.get("scope")
    bounds = [f"{line(scope.get('steps'))} of {line(scope.get('of'))} steps"] if isinstance(scope, dict) else []
    bounds += ["uncommitted code"] if verdict.get("dirty") is True else []
    message = f"{word} ({', '.join(bounds)})" if bounds else word
    return message if len(message) <= _MAX_CHARS else f"{message[: _MAX_CHARS - 4]} ..."


def _width(text: str) -> int:
    """Pixels of a text with its margins."""
    return (
        round(
            sum(4.9 if char in _NARROW else 10.8 if char in _WIDE else 8.2 if char.isupper() else 7.0 for char in text)
        )
        + 2 * _PAD
    )


def _text(text: str, left: int, width: int) -> str:
    place = f'x="{left + width / 2:g}" y="14" textLength="{width - 2 * _PAD}" lengthAdjust="spacingAndGlyphs"'
    return f"<text {place}>{escape(text)}</text>\n"
