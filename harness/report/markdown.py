"""summary.md: the verdict for a CI job's summary page, GitHub's flavour of Markdown, below 1 MiB."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup

from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.report.equality import equality_maps
from harness.report.tables import Cell, Column, Kind, State, Table, table
from harness.report.templates import environment, fitting
from harness.report.view import View

MAX_BYTES = 1 << 20
_SIGNS = {"good": "✅", "bad": "❌", "unsure": "❓", "none": "➖", "VETOED": "⛔", "vetoed": "⛔", "warning": "⚠️"}
_SIDES = {"replay": "Archived and today", "rerun": "Straight and its rerun", "resume": "Straight and resumed"}
# What begins a construct anywhere in a line; "@", "#" and "://" would make mentions and links of plain text.
_ESCAPED = re.compile(r"([\\`*_\[\]#|~$])")
_LEADING = re.compile(r"^(\d*)([-+.=])(?=[-=\s]|$)")


def render_summary(verdict: Verdict, manifest: Manifest | None) -> str:
    """The summary of a verdict."""
    own = environment(escaped)
    own.filters |= {"code": code, "sign": _sign, "cells": _cells, "own": Markup, "preformatted": preformatted}
    template = own.get_template("summary.md")

    def render(view: View) -> str:
        page = template.render(view=view, streams=_streams(view), provenance=_provenance(view))
        return re.sub(r"\n{3,}", "\n\n", page)

    return fitting(render, MAX_BYTES, verdict, manifest)


def escaped(text: str) -> str:
    """A text as one line of plain text: no markup, no link, no mention, no HTML."""
    text = " ".join(text.split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")
    text = text.replace("://", "&#58;//").replace("www.", "www&#46;")
    text = _ESCAPED.sub(r"\\\1", text)
    return _LEADING.sub(r"\1\\\2", text)


def code(text: str) -> Markup:
    """A text in typewriter face; safe in a table's cell, where a backtick span is not."""
    return Markup(f"<code>{escaped(text)}</code>" if text.strip() else "")


def preformatted(text: str) -> Markup:
    """A line within `<pre>`, where Markdown is not read."""
    text = str(Markup.escape(text)).replace("@", "&#64;").replace("://", "&#58;//").replace("]", "&#93;")
    return Markup(text)


def _sign(state: State) -> str:
    return f"{_SIGNS.get(state.words) or _SIGNS[state.tone]} {state.words}"


def _cells(row: Sequence[Cell], columns: Sequence[Column]) -> Markup:
    """The cells between bars."""
    shown = []
    for cell, column in zip(row, columns, strict=True):
        if isinstance(cell, State):
            shown.append(escaped(_sign(cell)))
        else:
            shown.append(code(cell) if column.kind == "code" else escaped(cell))
    return Markup(" | ".join(shown))


def _streams(view: View) -> Table:
    """What each check says of each stream."""
    maps = equality_maps(view.verdict, view.manifest, ())
    names = dict.fromkeys(row.stream for found in maps for row in found.rows)
    notes = [{row.stream: row.note for row in found.rows} for found in maps]
    rows = [(name, *(note.get(name, "") for note in notes)) for name in names]
    columns: dict[str, Kind] = {"Stream": "code"}
    return table("", columns | {_SIDES[found.check]: "text" for found in maps}, rows)


def _provenance(view: View) -> tuple[tuple[str, str], ...]:
    manifest = view.manifest
    facts = [("Run", view.verdict.run_id), ("Commit", view.commit), ("Runner", view.verdict.runner)]
    facts += [("Image", manifest.image.id or ""), ("Harness", manifest.harness.version)] if manifest else []
    return tuple((label, value) for label, value in facts if value)
