"""Trainings that cannot be recorded: which kind it is, and what to do about it, from what the processes said."""

from __future__ import annotations

import re
from pathlib import PurePath

from harness.evidence.trajectory import RunEvidence

_GUIDE = "pipelines/README.md, Updates by hand"
_WITHOUT_ENVIRONMENT = re.compile(r"-[A-Za-z]*[IES][A-Za-z]*")


def why_not_recorded(run: RunEvidence) -> str | None:
    """One sentence for a run from nothing in which no optimizer step was seen, with the remedy; None for any other.

    A run that failed or whose files are damaged has reasons of its own; a resume may find that all is done.
    """
    if run.record.exit_code != 0 or run.record.is_planned_kill or run.record.mode != "run":
        return None
    if run.ledger is not None and run.ledger.steps:
        return None
    if (run.ledger is None and run.ledger_bytes) or any(event.kind == "recorder_error" for event in run.events):
        return None
    return f"{run.name} was not recorded: {_reason(run)}"


def _reason(run: RunEvidence) -> str:
    process = next((event.fields for event in run.events if event.kind == "process"), None)
    if process is None:
        if flag := _isolating_flag(run.record.argv):
            return f"Python was started with {flag}, which ignores PYTHONPATH; start it without"
        return (
            "no Python process loaded the recorder; start Python without -I, -E and -S, and where a script sets "
            "PYTHONPATH, let it keep what was there (PYTHONPATH=src:$PYTHONPATH)"
        )
    versions = process.get("versions")
    if not isinstance(versions, dict) or "torch" not in versions:
        others = [name for name in ("jax", "tensorflow") if isinstance(versions, dict) and name in versions]
        what = f"it trains with {others[0]}" if others else "it never imported torch"
        return f"{what}, and only the steps of torch's optimizers can be seen; train with torch"
    if any(event.kind == "optimizer" for event in run.events):
        return (
            "its optimizer made no step that torch's hooks see; call the step() that the optimizer's class defines, "
            f"or declare each update in two lines ({_GUIDE})"
        )
    return f"it has no torch optimizer; declare each update in two lines ({_GUIDE})"


def _isolating_flag(argv: tuple[str, ...]) -> str | None:
    """A flag by which Python leaves out the recorder, among those before the script."""
    programs = [place for place, word in enumerate(argv) if PurePath(word).name.startswith("python")]
    for word in argv[programs[0] + 1 :] if programs else ():
        if not word.startswith("-") or word in ("-m", "-c", "-"):
            return None
        if _WITHOUT_ENVIRONMENT.fullmatch(word):
            return word
    return None
