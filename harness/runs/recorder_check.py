"""Checks before the first training that the recorder is there and is loaded: without it hours end without evidence."""

from __future__ import annotations

import dataclasses
import shutil

from harness.errors import HostError
from harness.runs.context import RunContext
from harness.runs.trajectory import process_spec

_TIMEOUT_S = 120
_PROBE = """
import sys
if not any(type(finder).__module__.startswith("_harness_recorder") for finder in sys.meta_path):
    raise SystemExit("sitecustomize did not load the recorder")
"""
_REMEDY = (
    "install the harness again if its files are incomplete; else look whether the image's Python runs a "
    "`sitecustomize` from PYTHONPATH at its start"
)


def check_recorder(context: RunContext) -> None:
    """Start one short process exactly as a training would be started, and see that the recorder is loaded in it.

    Raises:
        HostError: a file of the recorder is missing, or the process does not load it.
    """
    hook = context.recorder / "inject" / "sitecustomize.py"
    if not hook.is_file():
        raise HostError(f"the recorder is missing: there is no {hook}", "install the harness again")
    folder = context.folder / "recorder-check"
    (folder / "output").mkdir(parents=True)
    (folder / "runs" / "1").mkdir(parents=True)
    try:
        spec = process_spec(context, folder, 1, "run", ())
        spec = dataclasses.replace(spec, argv=("python", "-c", _PROBE), timeout_s=_TIMEOUT_S)
        outcome = context.sandbox.execute(spec, lambda: False)
        log = spec.log.read_text(errors="replace").splitlines() if spec.log.exists() else []
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if outcome.error is not None:
        raise HostError(f"no training can be started: {outcome.error}", "see the engine's log, and `harness doctor`")
    if outcome.exit_code != 0:
        why = (log or [f"exit code {outcome.exit_code}"])[-1][:300]
        raise HostError(f"trainings would not be recorded: {why}", _REMEDY)
