"""What every plot of runs shares: which runs are drawn, their styles, the kills, a quiet frame; and its SVG.

matplotlib draws it: no prologue, no style of its own, the page's custom properties for colours. Equal drawings give
equal bytes: no date, no random ids.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.documents.verdict import Verdict
from harness.report.curves import Curve, thinned, thinning_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MAX_POINTS = 2400
MAX_RUNS = 40
MAX_KILLS = 40
FEW_STEPS = 64
MARKERS = ("o", "s", "^", "D", "v", "p")
RESUMED_TRAJECTORY = "resumed"
_LARGEST_VALUE = 1e30
_LARGEST_STEP = 2**53
_BEFORE_STEP = ("micro_batch", "before_step")


@dataclass(frozen=True, slots=True)
class Drawing:
    """One figure: SVG for a wide page and for a phone, and what it shows in words."""

    wide: str
    narrow: str
    title: str
    description: str


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill's place between the complete steps (3.5: step 3 was complete, step 4 was not)."""

    number: int
    run: int
    position: float


def kills(verdict: Verdict) -> tuple[Kill, ...]:
    """The interruptions of a verdict that landed; numbered from 1 in the verdict's order."""
    return tuple(
        Kill(number, one.run, one.step - 0.5 if one.kind in _BEFORE_STEP else one.step + 0.5)
        for number, one in enumerate(verdict.interruptions[:MAX_KILLS], start=1)
        if one.landed and abs(one.step) < _LARGEST_STEP
    )


def drawing(name: str, heights: tuple[int, ...], draw: Callable[[Figure, Size], None]) -> tuple[str, str]:
    """The wide and the narrow drawing, of these two heights in CSS pixels."""
    return svg(f"{name}-wide", WIDE, heights[0], draw), svg(f"{name}-narrow", NARROW, heights[1], draw)


def drawn_curves(curves: Sequence[Curve]) -> tuple[Curve, ...]:
    """What is plotted: no controls, nothing empty, a bounded number of runs, straight first and resumed on top."""
    order = {"straight": 0, "rerun": 1, "archived": 2, "resumed": 3}
    found = [curve for curve in curves if curve.trajectory in order and curve.steps]
    found.sort(key=lambda curve: (order[curve.trajectory], curve.run))
    kept: list[Curve] = []
    for name in order:
        kept += [curve for curve in found if curve.trajectory == name][:MAX_RUNS]
    return tuple(kept)


def drawable(value: float | None) -> float:
    """The value, or NaN where there is none or it is so large that it would flatten everything else."""
    return math.nan if value is None or not abs(value) <= _LARGEST_VALUE else value


def plot_runs(
    axes: Axes, drawn: Sequence[Curve], values: Callable[[Curve], Sequence[float | None]], scale: float
) -> None:
    """Every run's line in its trajectory's style; `scale` below 1 makes lines thinner and leaves markers out."""
    width = thinning_width((curve.steps for curve in drawn), MAX_POINTS)
    few = scale == 1 and max(curve.steps[-1] - curve.steps[0] for curve in drawn) <= FEW_STEPS
    for curve in drawn:
        steps, shown = thinned(curve.steps, [drawable(value) for value in values(curve)], width)
        if all(math.isnan(value) for value in shown):
            continue
        axes.plot(steps, shown, **_style(curve, few, scale if width == 1 else scale * 0.7))


def _style(curve: Curve, few: bool, scale: float) -> dict[str, Any]:
    # A line of one point is none.
    dot: dict[str, Any] = {"marker": "o", "markersize": 12 * scale} if len(curve.steps) == 1 else {}
    if curve.trajectory == "straight":
        return {"color": STRAIGHT, "linewidth": 7 * scale, "solid_capstyle": "round", "zorder": 2} | dot
    if curve.trajectory in ("rerun", "archived"):
        dot |= {"markersize": 6 * scale} if dot else {}
        return {"color": RERUN, "linewidth": 2.2 * scale + 0.4, "linestyle": (0, (5, 3)), "zorder": 3} | dot
    style = {"color": RESUMED, "linewidth": 0.3 + scale, "zorder": 4}
    if few or len(curve.steps) == 1:
        marker = MARKERS[(curve.run - 1) % len(MARKERS)]
        style |= {"marker": marker, "markersize": 5.2 * scale, "markerfacecolor": PAPER, "markeredgewidth": 1.2}
    return style


def limit_steps(axes: Axes, drawn: Sequence[Curve], kills: Sequence[Kill]) -> list[Kill]:
    """Fit the step axis to the runs; returns the kills that lie on it."""
    first, last = min(curve.steps[0] for curve in drawn), max(curve.steps[-1] for curve in drawn)
    margin = max(0.7, (last - first) * 0.012)
    axes.set_xlim(first - margin, last + margin)
    return [kill for kill in kills if first - 1 <= kill.position <= last + 1]


def draw_kill_lines(axes: Axes, kills: Sequence[Kill]) -> None:
    """A dashed vertical line at every kill."""
    for kill in kills:
        axes.axvline(kill.position, color=KILL, linewidth=0.9, linestyle=(0, (3, 3)), zorder=1)


def bare(axes: Axes, label: str) -> None:
    """A quiet frame: a baseline, pale horizontal rules, no box."""
    axes.set_facecolor("none")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=6)
    if label:
        axes.set_ylabel(label)


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
