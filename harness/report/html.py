"""report.html: one page that says what was asked, what was found, how much was compared and what was not.

Self-contained: no script, nothing loaded, figures inline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.report.curves import Curve
from harness.report.equality import MAX_CELLS, EqualityMap, equality_maps, stream_notes
from harness.report.lines import FEW_STEPS, MARKERS, Drawing, Kill, kills
from harness.report.losses import loss_figure
from harness.report.resources import resources_figure
from harness.report.templates import environment, fitting
from harness.report.view import View

MAX_BYTES = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Legend:
    """Which lines the plots have; the marker of each resumed run as long as the shapes do not repeat."""

    trajectories: frozenset[str]
    markers: tuple[tuple[str, int], ...]
    validation: bool


def render_report(verdict: Verdict, manifest: Manifest | None, curves: Sequence[Curve] = ()) -> str:
    """The page of a verdict, below 2 MB."""
    own = environment()
    own.filters["figure"] = _figure
    template = own.get_template("report.html")
    found = kills(verdict)
    figures = {"losses": loss_figure(curves, found), "resources": resources_figure(curves, found)}

    def render(view: View) -> str:
        return template.render(
            view=view,
            **figures,
            legend=_legend(curves),
            kills=found,
            maps=equality_maps(view.verdict, view.manifest, curves),
            marks=_marks,
            max_cells=MAX_CELLS,
            loss_notes=stream_notes(view.verdict, view.manifest, curves, "loss"),
        )

    return fitting(render, MAX_BYTES, verdict, manifest, curves)


def _figure(drawing: Drawing, name: str) -> Markup:
    """The drawing for a wide page and for a phone, with the `<title>` and `<desc>` that its `aria-labelledby` names.

    The SVG is ours (numbers and fixed words only), so it goes into the page unescaped.
    """
    parts = []
    for size, svg in (("wide", drawing.wide), ("narrow", drawing.narrow)):
        named = Markup('<title id="{0}-title">{1}</title><desc id="{0}-desc">{2}</desc>')
        opening, bracket, content = svg.partition(">")
        texts = named.format(f"{name}-{size}", drawing.title, drawing.description)
        parts.append(
            Markup('<div class="{}">{}{}{}</div>').format(size, Markup(opening + bracket), texts, Markup(content))
        )
    return Markup("\n").join(parts)


def _legend(curves: Sequence[Curve]) -> Legend:
    drawn = [curve for curve in curves if curve.steps]
    resumed = sorted({curve.run for curve in drawn if curve.trajectory == "resumed"})
    span = max((curve.steps[-1] - curve.steps[0] for curve in drawn), default=0)
    marked = span <= FEW_STEPS and len(resumed) <= len(MARKERS)
    return Legend(
        trajectories=frozenset(curve.trajectory for curve in drawn),
        markers=tuple((MARKERS[(run - 1) % len(MARKERS)], run) for run in resumed) if marked else (),
        validation=any(curve.eval_steps for curve in curves),
    )


def _marks(found: EqualityMap, drawn: Sequence[Kill]) -> list[str]:
    """Where on a map the kills fell, in per cent of its width."""
    places = [(kill.position - 0.5) / found.num_steps * 100 for kill in drawn if found.check == "resume"]
    return [f"{place:.2f}" for place in places if 0 <= place <= 100]
