"""Sweeps: trainings that are each killed at one drawn point, and whose files are given back once found equal."""

from __future__ import annotations

import dataclasses
import shutil
import threading
import time
from collections.abc import Mapping

from harness.documents.run import Fault, RunRecord
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.check_result import not_checked
from harness.judge.soundness import num_steps
from harness.judge.sweep import judge_point
from harness.judge.verdict_inputs import VerdictInputs
from harness.runs.context import RunContext
from harness.runs.load_evidence import load_trajectory
from harness.runs.run_watch import Listener
from harness.runs.trajectory import run_interrupted

_FOR_PEOPLE_ALONE = ("tensors*.jsonl", "progress*.jsonl")


class _Quiet:
    """Passes notes on, and no steps: a sweep has too many."""

    def __init__(self, listener: Listener) -> None:
        self.note = listener.note

    def step(self, trajectory: str, run: int, step: int, total: int | None, loss: float) -> None:
        """Say nothing."""

    def kill(self, trajectory: str, run: int, kind: str, step: int) -> None:
        """Say nothing."""


class RunningSweep:
    """The trainings of a sweep, side by side with others; tells of each when it is over, and how long is left."""

    def __init__(self, context: RunContext, straight: TrajectoryEvidence, points: Mapping[str, Fault]) -> None:
        self._context = dataclasses.replace(context, listener=_Quiet(context.listener))
        self._straight = straight
        self._points = points
        self._lock = threading.Lock()
        self._began: float | None = None
        self._num_over = 0

    def run(self, name: str) -> tuple[RunRecord, ...]:
        """One training: killed at its point, resumed, compared, and given back if nothing differs."""
        with self._lock:
            self._began = self._began or time.monotonic()
        records = run_interrupted(self._context, name, kills=(self._points[name],))
        reason = self._differs(name, records)
        if not reason:
            self._give_back(name)
        self._tell(name, reason)
        return records

    def _differs(self, name: str, records: tuple[RunRecord, ...]) -> str:
        """Why a training did not hold, as far as it can be told while others run; "" if it did."""
        context, declared = self._context, self._context.experiment
        globs = (declared.outputs, declared.checkpoints, declared.policy.volatile)
        found = load_trajectory(context.folder / name, name, records, *globs, derived=declared.derived)
        inputs = VerdictInputs(
            experiment=context.name,
            run_id=context.run_id,
            commit=context.commit,
            dirty=False,
            runner=context.sandbox.kind,
            steps=num_steps(declared.steps, self._straight),
            straight=self._straight,
        )
        rerun = not_checked("it may still run", inputs, "rerun")
        result = judge_point(inputs, self._straight, self._points[name], found, rerun)
        if result.differences:
            return f"DIFFERS in {result.differences[0].stream} at step {result.differences[0].step}"
        return "" if result.check.verdict == "CERTIFIED" else result.check.reason

    def _give_back(self, name: str) -> None:
        """Remove what is not needed to judge the ledgers again. The output goes at once or not at all."""
        folder = self._context.folder / name
        (folder / "output").rename(folder / "given-back")
        shutil.rmtree(folder / "given-back", ignore_errors=True)
        for pattern in _FOR_PEOPLE_ALONE:
            for path in (folder / "runs").glob(f"*/{pattern}"):
                path.unlink(missing_ok=True)

    def _tell(self, name: str, reason: str) -> None:
        with self._lock:
            self._num_over += 1
            took, num_left = time.monotonic() - (self._began or 0.0), len(self._points) - self._num_over
            left = f"; about {took / self._num_over * num_left / 60:.0f} min left" if num_left else ""
            point = self._points[name]
            place = f"{point.kind} {point.micro_batch or point.write or ''} of step {point.step}".replace("  ", " ")
            how = reason or "equal"
            self._context.listener.note(f"sweep {self._num_over}/{len(self._points)}: {place}: {how}{left}")
