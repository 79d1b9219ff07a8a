"""report.html: one page that says what was asked, what was found, how much was compared and what was not.

Self-contained: no script, nothing loaded, figures inline. Every text of a verdict is untrusted and escaped by jinja2.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from harness.report import sections, wording
from harness.report.curves import Curve
from harness.report.equality import MAX_CELLS, EqualityMap, equality_maps, stream_note
from harness.report.fields import document, flag, line, moment, table, text, texts
from harness.report.lines import FEW_STEPS, MARKERS, Drawing, Kill, kills
from harness.report.losses import loss_figure
from harness.report.replay import condensed, replay_section
from harness.report.resources import resources_figure
from harness.report.review import (
    VRAM_HEADER,
    finding_rows,
    review_groups,
    review_sentence,
    unread_rows,
    vram_rows,
    vram_sentence,
)

MAX_BYTES = 2_000_000
# (rows of a list, characters of a text, levels): tried in turn until the page is small enough.
_LIMITS = ((200, 2000, 12), (40, 300, 8), (8, 80, 5))
_TONES = {
    "CERTIFIED": "good",
    "DIVERGED": "bad",
    "TAMPERED": "bad",
    "VETOED": "bad",
    "INCONCLUSIVE": "unsure",
    wording.NOT_CHECKED: "none",
}
_FINAL_STATE = {True: "equal", False: "different", None: ""}
_COLUMNS = (
    ("Steps", "steps", "Steps"),
    ("Median step", "step_time", "Step"),
    ("Slowest", "slowest", "Slowest"),
    ("Recorder", "recorder", "Recorder"),
    ("Peak memory", "memory", "Peak"),
    ("Peak GPU memory", "gpu_memory", "GPU"),
)  # in a table's head, in a row of `sections.runs`, on a phone
_LISTS = ("interruptions", "restored", "files", "problems", "not_checked")


def render_report(verdict: dict[str, Any], manifest: dict[str, Any], curves: Sequence[Curve] = ()) -> str:
    """The page for any verdict, even one with almost nothing in it; below 2 MB.

    Args:
        verdict: `verdict.json`; missing keys and values of a wrong type are shown as absent.
        manifest: `manifest.json`, of which environment, image, inputs and runs are shown.
        curves: one per run; controls among them are not plotted.
    """
    verdict, manifest = (value if isinstance(value, dict) else {} for value in (verdict, manifest))
    verdict = condensed(verdict)
    template = _template()
    page = ""
    for max_rows, max_chars, depth in _LIMITS:
        shown_verdict, shown_manifest = (
            document(value, max_rows=max_rows, max_chars=max_chars, depth=depth) for value in (verdict, manifest)
        )
        left_out = _left_out(verdict, manifest, max_rows)
        page = template.render(**_page(shown_verdict, shown_manifest, curves), left_out=left_out)
        if len(page.encode()) < MAX_BYTES:
            break
    return page


def _left_out(verdict: dict[str, Any], manifest: dict[str, Any], max_rows: int) -> dict[str, int]:
    """How many rows of a list the page does not show, by the list's name."""
    replay = table(verdict.get("replay"))
    of_replay = ("environment", "preflight", "code_changes")
    lists = {key: verdict.get(key) for key in _LISTS} | {key: replay.get(key) for key in of_replay}
    lists["runs"] = manifest.get("runs")
    return {key: len(rows) - max_rows for key, rows in lists.items() if isinstance(rows, list) and len(rows) > max_rows}


@functools.cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure_text"] = _figure_text
    return environment.get_template("report.html")


def _figure_text(svg: str, name: str, title: str, description: str) -> Any:
    """The SVG with the `<title>` and `<desc>` that its `aria-labelledby` names; the texts are escaped."""
    from markupsafe import Markup

    named = Markup('<title id="{0}-title">{1}</title><desc id="{0}-desc">{2}</desc>').format(name, title, description)
    opening, bracket, content = svg.partition(">")
    return Markup(opening + bracket) + named + Markup(content)


def _page(verdict: dict[str, Any], manifest: dict[str, Any], curves: Sequence[Curve]) -> dict[str, Any]:
    """Everything the template shows, as plain texts and lists; the template makes no choice but how it looks."""
    return _findings(verdict) | _figures(verdict, manifest, curves) | _ground(verdict, manifest, curves)


def _findings(verdict: dict[str, Any]) -> dict[str, Any]:
    """What was judged, and what it stands on."""
    word = wording.overall(verdict)
    return {
        "kind": wording.kind_of(verdict),
        "title": wording.title_of(verdict),
        "verdict": word,
        "tone": _TONES[word],
        "summary": wording.summary_of(verdict),
        "compared": wording.compared_text(verdict.get("compared")),
        "final_state": _FINAL_STATE[flag(verdict, "final_state_equal")],
        "difference_sentence": wording.environment_sentence(verdict),
        "difference": wording.environment_rows(verdict),
        "oracles": [(oracle, _TONES[oracle.verdict]) for oracle in wording.oracle_texts(verdict)],
        "amounts": [(*row, _TONES.get(row[-1].replace(" ", "_").upper(), "none")) for row in sections.amounts(verdict)],
        "replay": replay_section(verdict),
        "problems": texts(verdict.get("problems")),
        "review": _review(table(verdict.get("review"))),
        "divergence_sentence": wording.divergence_sentence(verdict),
        "divergence": wording.divergence_rows(verdict),
        "cause": _cause(verdict),
        "interruptions": sections.interruptions(verdict),
        "restored": sections.restored(verdict),
        "in_file": any(row["in_file"] for row in sections.restored(verdict)),
        "testimony": sections.testimony(verdict),
        "controls": sections.controls(verdict),
        "controls_missing": flag(table(verdict.get("control")), "failed_as_it_must") is False,
        "files": sections.files(verdict),
        "not_checked": texts(verdict.get("not_checked")),
        "claims": wording.claims(verdict),
        "non_claims": wording.non_claims(verdict),
    }


def _figures(verdict: dict[str, Any], manifest: dict[str, Any], curves: Sequence[Curve]) -> dict[str, Any]:
    found_kills = kills(verdict)
    return {
        "losses": _figure(loss_figure(curves, found_kills)),
        "loss_notes": _loss_notes(verdict, manifest, curves),
        "legend": _legend(curves) | {"kills": bool(found_kills)},
        "resources": _figure(resources_figure(curves, found_kills)),
        "maps": [_map(found, found_kills) for found in equality_maps(verdict, manifest, curves)],
    }


def _ground(verdict: dict[str, Any], manifest: dict[str, Any], curves: Sequence[Curve]) -> dict[str, Any]:
    """Which run it was, what its processes used, and what they stood on."""
    found_runs = sections.runs(manifest, curves)
    return {
        "facts": _facts(verdict, manifest),
        "runs": found_runs,
        "columns": [column for column in _COLUMNS if any(row[column[1]] for row in found_runs)],
        "environment": sections.environment(manifest),
        "image": sections.image(manifest),
        "inputs": sections.inputs(manifest),
        "experiment": sections.pretty(manifest.get("experiment")),
    }


def _facts(verdict: dict[str, Any], manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """The line under the banner: which run this was."""
    volatile = table(manifest.get("volatile"))
    facts = [
        ("Scope", wording.scope_of(verdict)),
        ("Run", line(verdict.get("run_id"))),
        ("Commit", line(verdict.get("commit"))),
        ("Working tree", "with uncommitted changes" if verdict.get("dirty") is True else ""),
        ("Runner", line(verdict.get("runner"))),
        ("Image", line(table(manifest.get("image")).get("name"))),
        ("Started", moment(volatile.get("started"))),
        ("Took", sections.took(manifest)),
        ("Exit code", line(verdict.get("exit_code"))),
        ("Harness", line(table(manifest.get("harness")).get("version"))),
    ]
    return [(label, value) for label, value in facts if value]


def _review(review: dict[str, Any]) -> dict[str, Any] | None:
    """The checklist by groups, the findings and what was not read; None without a review."""
    if not review:
        return None
    return {
        "sentence": review_sentence(review),
        "groups": review_groups(review),
        "findings": finding_rows(review),
        "allowed": finding_rows(review, "allowed"),
        "unread": unread_rows(review),
        "num_items": sum(len(items) for _, items in review_groups(review)),
        "is_settled": all(row["tone"] in ("good", "none") for _, items in review_groups(review) for row in items),
        "vram": vram_rows(review),
        "vram_header": VRAM_HEADER,
        "vram_sentence": vram_sentence(review),
    }


def _cause(verdict: dict[str, Any]) -> dict[str, Any] | None:
    cause = table(verdict.get("cause"))
    if not cause:
        return None
    return {
        "class": line(cause.get("class")),
        "title": text(cause.get("title")) or "Cause not named",
        "evidence": texts(cause.get("evidence")),
        "ruled_out": texts(cause.get("ruled_out")),
        "fix": text(cause.get("fix")),
    }


def _figure(drawing: Drawing | None) -> dict[str, Any] | None:
    """The figure's SVG is ours (numbers and fixed words only), so it goes into the page unescaped."""
    from markupsafe import Markup

    if drawing is None:
        return None
    return {
        "wide": Markup(drawing.wide),
        "narrow": Markup(drawing.narrow),
        "title": drawing.title,
        "description": drawing.description,
    }


def _loss_notes(verdict: dict[str, Any], manifest: dict[str, Any], curves: Sequence[Curve]) -> list[tuple[str, str]]:
    oracles = table(verdict.get("checks"))
    names = (("replay", "archived and today"), ("resume", "straight and resumed"), ("rerun", "straight and its rerun"))
    return [(name, stream_note(verdict, manifest, curves, "loss", key)) for key, name in names if key in oracles]


def _legend(curves: Sequence[Curve]) -> dict[str, Any]:
    """Which lines the plots have; the marker of each resumed run as long as the shapes do not repeat."""
    drawn = {curve.trajectory for curve in curves if curve.steps}
    resumed = sorted({curve.run for curve in curves if curve.steps and curve.trajectory == "resumed"})
    span = max((curve.steps[-1] - curve.steps[0] for curve in curves if curve.steps), default=0)
    marked = span <= FEW_STEPS and len(resumed) <= len(MARKERS)
    return {
        "straight": "straight" in drawn,
        "rerun": "rerun" in drawn,
        "archived": "archived" in drawn,
        "resumed": "resumed" in drawn,
        "markers": [(MARKERS[(run - 1) % len(MARKERS)], run) for run in resumed] if marked else [],
        "validation": any(curve.eval_steps for curve in curves),
    }


def _map(found: EqualityMap, found_kills: Sequence[Kill]) -> dict[str, Any]:
    """One map with its spans as shares of the width, and where on it the kills fell, in per cent."""
    lines = []
    for row in found.rows:
        spans = [(span.state, span.first - 1, span.last - span.first + 1) for span in row.spans]
        lines.append({"stream": row.stream, "note": row.note, "spans": spans})
    places = [(kill.position - 0.5) / found.num_steps * 100 for kill in found_kills if found.oracle == "resume"]
    return {
        "oracle": found.oracle,
        "num_steps": found.num_steps,
        "rows": lines,
        "ticks": found.num_steps <= MAX_CELLS,
        "kills": [f"{place:.2f}" for place in places if 0 <= place <= 100],
    }
