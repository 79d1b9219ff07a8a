"""The figure of losses: straight, rerun and resumed laid over each other, with the kills and each run's steps.

Every figure is drawn twice, wide and narrow, because a wide one shrunk to a phone cannot be read. Equal curves give
equal SVG: no date, no random ids, no untrusted text inside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.report.curves import Curve, thinned, thinning_width
from harness.report.lines import (
    KILL,
    MAX_POINTS,
    PAPER,
    POINTS_PER_INCH,
    RERUN,
    RESUMED,
    RESUMED_TRAJECTORY,
    STRAIGHT,
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
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SMALLEST_DIFFERENCE = 1e-300


def loss_figure(curves: Sequence[Curve], kills: Sequence[Kill]) -> Drawing | None:
    """Losses of straight, rerun and resumed over each other, each run's steps below; None without any step.

    Where reported losses of straight and resumed differ, a panel of their absolute difference (log scale) is added.
    """
    drawn = drawn_curves(curves)
    if not drawn:
        return None
    lanes, apart = _lanes(drawn), _differences(drawn)
    description = (
        f"{len(drawn)} runs. The straight trajectory is a wide pale line, the resumed one a thin dark line on top of"
        f" it with one marker shape per run, a rerun a dashed line. {len(kills)} kills are vertical dashed lines."
        " Below, one bar per run covers the steps it completed; a cross is where it was killed."
    )

    def draw(figure: Figure, size: Size) -> None:
        _draw_losses(figure, size, (drawn, lanes, apart), kills)

    heights = tuple(height + 24 * len(lanes) + (104 if apart else 0) for height in (390, 310))
    return Drawing(*drawing("loss", heights, draw), "Training loss by optimizer step", description)


def _differences(drawn: Sequence[Curve]) -> tuple[tuple[int, float], ...]:
    """(step, |straight - resumed|) where the reported losses differ; the largest where a step was run twice."""
    straight = {
        step: loss
        for curve in drawn
        if curve.trajectory == "straight"
        for step, loss in zip(curve.steps, curve.losses, strict=False)
    }
    found: dict[int, float] = {}
    for curve in drawn:
        if curve.trajectory == RESUMED_TRAJECTORY:
            for step, loss in zip(curve.steps, curve.losses, strict=False):
                apart = abs(drawable(loss) - drawable(straight.get(step)))
                if apart > 0:
                    found[step] = max(found.get(step, _SMALLEST_DIFFERENCE), apart)
    return tuple(sorted(found.items()))


def _draw_losses(
    figure: Figure,
    size: Size,
    content: tuple[Sequence[Curve], Sequence[tuple[str, list[Curve]]], Sequence[tuple[int, float]]],
    kills: Sequence[Kill],
) -> None:
    """Three parts with one step axis: losses, their difference where there is one, and the runs' lanes."""
    drawn, lanes, apart = content
    height = figure.get_figheight() * POINTS_PER_INCH
    left = (58 if size.is_narrow else 72) / size.width
    width = 1 - left - 14 / size.width

    bottom, lane_height = 46 / height, (24 * len(lanes) + 10) / height
    below = figure.add_axes((left, bottom, width, lane_height))
    kills = limit_steps(below, drawn, kills)
    bottom += lane_height + 8 / height
    if apart:
        difference = figure.add_axes((left, bottom, width, 84 / height), sharex=below)
        _draw_difference(difference, apart, kills)
        bottom += 104 / height
    losses = figure.add_axes((left, bottom, width, 1 - 38 / height - bottom), sharex=below)
    plot_runs(losses, drawn, lambda curve: curve.losses, 1.0)
    _plot_validation(losses, drawn)
    _mark_gaps(losses, drawn)
    bare(losses, "" if size.is_narrow else "training loss")
    losses.tick_params(labelbottom=False)
    if all(math.isnan(drawable(value)) for curve in drawn for value in (*curve.losses, *curve.eval_losses)):
        losses.set_yticks([])  # a scale of nothing
    _draw_kills(losses, kills, size)
    _draw_lanes(below, lanes, kills, size)


def _draw_difference(axes: Axes, apart: Sequence[tuple[int, float]], kills: Sequence[Kill]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    width = thinning_width([[step for step, _ in apart]], MAX_POINTS // 4)
    steps, values = thinned([step for step, _ in apart], [value for _, value in apart], width)
    axes.set_yscale("log")
    axes.vlines(steps, min(values) / 3, values, color=KILL, linewidth=1.2)
    axes.plot(steps, values, "o", color=KILL, markersize=3.4)
    axes.set_ylim(min(values) / 3, max(values) * 3)
    axes.yaxis.set_major_locator(LogLocator(numticks=4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_title("|straight - resumed|, log scale", loc="left", fontsize=11, color=KILL, pad=5)
    draw_kill_lines(axes, kills)
    bare(axes, "")
    axes.tick_params(labelbottom=False, which="both", length=0)


def _plot_validation(axes: Axes, drawn: Sequence[Curve]) -> None:
    """Validation losses as dotted lines with crosses, in their trajectory's colour."""
    every = thinning_width((curve.eval_steps for curve in drawn), MAX_POINTS // 4)
    for curve in drawn:
        if curve.eval_steps and curve.trajectory not in ("rerun", "archived"):
            is_straight = curve.trajectory == "straight"
            steps, values = thinned(curve.eval_steps, [drawable(value) for value in curve.eval_losses], every)
            colour, width, size = (STRAIGHT, 5, 9) if is_straight else (RESUMED, 1.2, 6)
            axes.plot(steps, values, ":", color=colour, linewidth=width, marker="x", markersize=size, zorder=4)


def _mark_gaps(axes: Axes, drawn: Sequence[Curve]) -> None:
    """A cross on the axis where a loss is NaN or off the scale: a gap alone is easily overlooked."""
    gaps = sorted(
        {
            step
            for curve in drawn
            for step, value in zip(curve.steps, curve.losses, strict=False)
            if math.isnan(drawable(value))
        }
    )
    if gaps:
        steps, _ = thinned(gaps, [0.0] * len(gaps), thinning_width([gaps], 200))
        axes.plot(
            steps, [0.03] * len(steps), "x", color=KILL, markersize=5, transform=axes.get_xaxis_transform(), zorder=5
        )
        axes.text(0.99, 0.93, "x = not finite, or above 1e30", transform=axes.transAxes, color=KILL, ha="right")


def _lanes(drawn: Sequence[Curve]) -> list[tuple[str, list[Curve]]]:
    """The lines under the loss: one a run; many resumed runs share one."""
    if len(drawn) > 10:
        names = dict.fromkeys(curve.trajectory for curve in drawn)
        return [(name, [curve for curve in drawn if curve.trajectory == name]) for name in names]
    many = sum(curve.trajectory == RESUMED_TRAJECTORY for curve in drawn) > 1
    return [
        (f"run {curve.run}" if many and curve.trajectory == RESUMED_TRAJECTORY else curve.trajectory, [curve])
        for curve in drawn
    ]


def _draw_lanes(axes: Axes, lanes: Sequence[tuple[str, list[Curve]]], kills: Sequence[Kill], size: Size) -> None:
    """One bar a run over the steps that it completed; a cross where it was killed."""
    from matplotlib.ticker import MaxNLocator

    colours = {"straight": STRAIGHT, "rerun": RERUN, "archived": RERUN, "resumed": RESUMED}
    for height, (_, members) in enumerate(lanes):
        for curve in members:
            ends = [curve.steps[0] - 0.5, curve.steps[-1] + 0.5]
            axes.plot(ends, [height, height], color=colours[curve.trajectory], linewidth=7, solid_capstyle="butt")
            for kill in kills:
                if curve.trajectory == RESUMED_TRAJECTORY and kill.run == curve.run:
                    axes.plot([ends[1], kill.position], [height, height], color=KILL, linewidth=1.2)
                    axes.plot([kill.position], [height], "X", color=KILL, markersize=9, markeredgecolor=PAPER)
    axes.set_ylim(len(lanes) - 0.4, -0.9)
    axes.set_yticks(range(len(lanes)), [name for name, _ in lanes])
    draw_kill_lines(axes, kills)
    axes.xaxis.set_major_locator(MaxNLocator(6 if size.is_narrow else 12, integer=True, min_n_ticks=1))
    bare(axes, "")
    axes.grid(visible=False)
    axes.set_xlabel("optimizer step", labelpad=6)


def _draw_kills(axes: Axes, kills: Sequence[Kill], size: Size) -> None:
    """Dashed lines with their numbers above; numbers that would touch take a second line."""
    left, right = axes.get_xlim()
    apart = (right - left) * (0.06 if size.is_narrow else 0.05)
    previous, raised = -math.inf, False
    draw_kill_lines(axes, kills)
    for kill in sorted(kills, key=lambda kill: kill.position):
        raised = kill.position - previous < apart and not raised
        previous = kill.position
        axes.annotate(
            f"{kill.number}" if size.is_narrow else f"kill {kill.number}",
            (kill.position, 1),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 16 if raised else 4),
            textcoords="offset points",
            horizontalalignment="center",
            color=KILL,
            annotation_clip=False,
        )
