"""The figure of what the runs used: step time, memory, GPU memory and learning rate by step, as small multiples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from harness.report.curves import Curve
from harness.report.lines import (
    INK,
    POINTS_PER_INCH,
    Drawing,
    Kill,
    Size,
    bare,
    draw_kill_lines,
    drawable,
    drawing,
    drawn_curves,
    limit_steps,
    plot_runs,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROW = 200


def resources_figure(curves: Sequence[Curve], kills: Sequence[Kill]) -> Drawing | None:
    """Step time, memory and learning rate by step, as small multiples; None without any value."""
    drawn = drawn_curves(curves)
    panels = _panels(drawn)
    if not panels:
        return None

    def draw(figure: Figure, size: Size) -> None:
        _draw_panels(figure, size, (drawn, panels), kills)

    names = ", ".join(name for name, _ in panels)
    description = f"{names} of {len(drawn)} runs by optimizer step. Times and memory differ from run to run."
    heights = (_ROW * _grid(len(panels), False)[0] + 20, 200 * len(panels))
    return Drawing(*drawing("resources", heights, draw), names, description)


def _panels(drawn: Sequence[Curve]) -> list[tuple[str, Callable[[Curve], list[float]]]]:
    """The small multiples for which any run has a value: title, and a run's values."""
    gib = 1 << 30
    candidates: list[tuple[str, Callable[[Curve], list[float]]]] = [
        ("Step time, s", lambda curve: [drawable(value) for value in curve.seconds]),
        ("Memory, GiB", lambda curve: [drawable(v) / gib if v is not None else math.nan for v in curve.rss_bytes]),
        ("GPU memory, GiB", lambda curve: [drawable(v) / gib if v is not None else math.nan for v in curve.vram_bytes]),
        ("Learning rate", lambda curve: [drawable(value) for value in curve.learning_rates]),
    ]
    return [
        (title, values)
        for title, values in candidates
        if any(not math.isnan(value) for curve in drawn for value in values(curve))
    ]


def _grid(num_panels: int, is_narrow: bool) -> tuple[int, int]:
    """Rows and columns: one column on a phone, at most three elsewhere; four are two by two."""
    columns = 1 if is_narrow else 2 if num_panels == 4 else min(num_panels, 3)
    return (math.ceil(num_panels / columns), columns)


def _draw_panels(
    figure: Figure,
    size: Size,
    content: tuple[Sequence[Curve], list[tuple[str, Callable[[Curve], list[float]]]]],
    kills: Sequence[Kill],
) -> None:
    from matplotlib.ticker import MaxNLocator

    drawn, panels = content
    grid = _grid(len(panels), size.is_narrow)
    for place, (title, values) in enumerate(panels, start=1):
        axes = figure.add_subplot(*grid, place)
        plot_runs(axes, drawn, values, 0.6)
        draw_kill_lines(axes, limit_steps(axes, drawn, kills))
        top = axes.get_ylim()[1]
        if title != "Learning rate" and top > 0:
            axes.set_ylim(0, top * 1.15)
        axes.set_title(title, loc="left", fontsize=12.5, color=INK, pad=9)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        bare(axes, "")
    height = figure.get_figheight() * POINTS_PER_INCH
    figure.subplots_adjust(
        left=48 / size.width,
        right=1 - 14 / size.width,
        bottom=26 / height,
        top=1 - 30 / height,
        wspace=0.24,
        hspace=0.5,
    )
