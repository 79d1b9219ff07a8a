"""Follows the ledgers of trainings that run side by side, and says when one of them can stop.

A line that is not whole yet is not there yet; steps that are repeated after a resume are compared again; whichever of
two trainings is ahead waits in memory for the other.
"""

from __future__ import annotations

import threading

from harness.documents.verdict import StoppedAt
from harness.judge.first_difference import Row, differs

_MAX_WAITING = 100_000


class DivergenceMonitor:
    """Compares the steps of the trainings of one certify as they come; safe to call from several threads.

    A difference in the first run of a trajectory shows that the pipeline does not repeat itself: everything is over. A
    difference after a resume is the resume's only if a second straight run holds, so that one goes on until it has
    passed the step; and the straight run goes on to its end, for the diagnosis looks for what the resumed run was given
    among all of its steps.
    """

    def __init__(self, straight: str, rerun: str) -> None:
        """Compare everything with the trajectory `straight`; `rerun` is the second straight run, if there is one."""
        self._straight, self._rerun = straight, rerun
        self._lock = threading.Lock()
        self._steps: dict[int, Row] = {}
        self._waiting: dict[int, list[tuple[str, int, Row]]] = {}
        self._rerun_step = 0
        self._found: dict[bool, StoppedAt] = {}

    @property
    def found(self) -> StoppedAt | None:
        """The first difference; one between two fresh processes before one after a resume."""
        with self._lock:
            return self._found.get(False) or self._found.get(True)

    def observe(self, trajectory: str, run: int, row: Row) -> None:
        """Compare a line that was added to a run's ledger."""
        step = row.get("step")
        if row.get("kind") != "step" or type(step) is not int:
            return
        with self._lock:
            if trajectory == self._straight:
                self._steps[step] = row
                for waiting in self._waiting.pop(step, ()):
                    self._compare(*waiting, step)
            elif step in self._steps:
                self._compare(trajectory, run, row, step)
            elif len(self._waiting) < _MAX_WAITING:
                self._waiting.setdefault(step, []).append((trajectory, run, row))

    def is_over(self, trajectory: str) -> bool:
        """Whether nothing is learned from more steps of this trajectory."""
        with self._lock:
            if False in self._found or True not in self._found:
                return False in self._found
            if trajectory == self._rerun:
                return self._rerun_step >= self._found[True].step
            return trajectory != self._straight

    def _compare(self, trajectory: str, run: int, row: Row, step: int) -> None:
        if differs(self._steps[step], row):
            where = StoppedAt(trajectory=trajectory, run=run, step=step)
            self._found.setdefault(run > 1, where)
        if trajectory == self._rerun:
            self._rerun_step = max(self._rerun_step, step)
