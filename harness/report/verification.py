"""What `harness verify` found, as text: what was recomputed, what was not, and its word as the last line."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from harness.report.fields import bounded, line
from harness.report.text_table import text_table

_MAX_ROWS = 60
_COMPARE = "Compare that key id with the one its owner publishes; `harness key trust FILE --name NAME` remembers it."


def print_verification(document: dict[str, Any], stream: TextIO | None = None) -> None:
    """A table of what was recomputed, a list of what was not, who signed, and the word.

    Args:
        document: what `harness verify --json` prints; texts in it come from what was verified, so none is trusted.
        stream: where to write instead of stdout.
    """
    shown = bounded(document, max_rows=_MAX_ROWS)
    rows = [(line(one["name"]), line(one["text"]), line(one["amount"])) for one in shown["checks"]]
    lines = [text_table(rows, ("recomputed", "", "amount")), ""] if rows else []
    if document["word"] == "TAMPERED":
        lines.append(line(shown["problem"]))
        if document["remedy"]:
            lines.append(f"  remedy: {line(shown['remedy'])}")
        lines += ["", "TAMPERED"]
    else:
        lines.append("not checked:")
        lines += [f"  - {line(text)}" for text in shown["not_checked"]]
        if document["signer"] is not None and document["signer"]["name"] is None:
            lines += ["", _COMPARE]
        lines += ["", line(shown["summary"])]
    (stream or sys.stdout).write("\n".join(lines) + "\n")
