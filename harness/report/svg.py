"""SVG for a page, drawn by matplotlib: no prologue, no style of its own, colours that are the page's custom properties.

Equal drawings give equal bytes: no date, no random ids.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS_PER_INCH = 72
# Stand-ins: matplotlib writes these colours, the page's custom properties replace them.
INK, MUTED, RULE = "#010203", "#010204", "#010205"
STRAIGHT, RERUN, RESUMED, KILL, PAPER = "#010206", "#010207", "#010208", "#010209", "#01020a"
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    STRAIGHT: "--straight",
    RERUN: "--rerun",
    RESUMED: "--resumed",
    KILL: "--kill",
    PAPER: "--paper",
}


@dataclass(frozen=True, slots=True)
class Size:
    """A figure's width in CSS pixels and whether it is the phone's."""

    width: int
    is_narrow: bool


WIDE, NARROW = Size(960, False), Size(360, True)


def svg(name: str, size: Size, height: int, draw: Callable[[Figure, Size], None]) -> str:
    """Draw at 72 points to the inch, so that one unit of the SVG is one CSS pixel at full size."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = {
        "svg.hashsalt": name,
        "svg.fonttype": "none",
        "font.size": 12,
        "axes.edgecolor": RULE,
        "axes.labelcolor": MUTED,
        "text.color": INK,
        "xtick.color": RULE,
        "ytick.color": RULE,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "axes.unicode_minus": False,
        "text.parse_math": False,
    }
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # nobody's own matplotlibrc may change a report
        matplotlib.rcParams.update(settings)
        figure = Figure(figsize=(size.width / POINTS_PER_INCH, height / POINTS_PER_INCH), facecolor="none")
        FigureCanvasSVG(figure)
        draw(figure, size)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None}, facecolor="none")
    return _themed(out.getvalue(), name)


def _themed(svg: str, name: str) -> str:
    """Bare `<svg>` for a page: no prologue, metadata or global style; ids of its own; the page's colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    opening, closing, content = svg.partition(">")
    svg = re.sub(r'\s(?:xmlns(?::\w+)?|version|width|height)="[^"]*"', "", opening) + closing + content
    svg = svg.replace("<svg", f'<svg class="plot" aria-labelledby="{name}-title {name}-desc" role="img"', 1)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return re.sub(r"\n\s*\n", "\n", svg)
