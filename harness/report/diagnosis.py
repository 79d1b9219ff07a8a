"""What `harness diagnose` found, on the console: one sentence, the operators around it, what to do."""

from __future__ import annotations

from typing import TextIO

from harness.documents.diagnosis import OperatorDiagnosis
from harness.report.printer import Printer
from harness.report.tables import Kind, table
from harness.report.text import few, line, safe

_MAX_NAMED = 8


def print_diagnosis(found: OperatorDiagnosis, stream: TextIO | None = None) -> None:
    """The last line is what was found, in capitals."""
    printer, shown = Printer(stream), safe(found)
    printer.line(line(shown.sentence))
    columns: dict[str, Kind] = {"#": "amount", "Operator": "code", "Phase": "text", "Module": "code", "Line": "code"}
    columns |= {"Inputs": "text", "Outputs": "text"}
    words = {True: "equal", False: "differ"}
    rows = [
        (f"{one.place:,}", one.name, one.phase, one.module, one.line, words[one.inputs], words[one.outputs])
        for one in shown.nearby
    ]
    printer.table(table("", columns, rows))
    printer.line()
    low, high = (f"{100 * end:.0f}" for end in shown.interval)
    share = f"{shown.differ} of {shown.executions} executions differ (95 % interval {low} to {high} %)"
    printer.pairs(
        [
            ("differs", share),
            ("cause", line(shown.cause)),
            ("goes in", few(list(shown.states), _MAX_NAMED) if len(shown.states) > 1 else ""),
            ("fix", line(shown.fix)),
            ("source", shown.source),
            *((one.outcome, line(one.detail)) for one in shown.confirmations),
            *(("note", line(note)) for note in shown.notes),
        ]
    )
    printer.line(f"{'REFUTED' if shown.is_refuted else 'FOUND'}: {_last(shown)}")


def _last(shown: OperatorDiagnosis) -> str:
    name = shown.operator.name if shown.operator is not None else "the end of the step"
    words = {"operator": f"operator {name}", "sequence": f"other operators from {name} on", "nothing": "no difference"}
    if shown.found == "input":
        return shown.states[0] if shown.states else f"an input of {name}"
    return words[shown.found]
