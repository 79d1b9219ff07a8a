"""One run: a process that trained, in one container or as one process of the host; what was asked and what happened."""

from __future__ import annotations

from typing import Any

from pydantic import Field, JsonValue

from harness.documents.document import Document, Model

SIGKILL_EXIT_CODE = 137
FIRST_DIFFERENCE = "at the first difference"
BY_ITSELF = "itself"
SIGNAL = "signal"


class Fault(Model):
    """A fault point as pipelines/README.md defines it; steps are numbered over the whole training."""

    kind: str
    step: int
    micro_batch: int | None = None
    byte: int | None = None
    by: str = "self"
    rank: int | None = Field(default=None, exclude_if=lambda rank: rank is None)
    write: int | None = Field(default=None, exclude_if=lambda number: number is None)
    signal: str | None = Field(default=None, exclude_if=lambda signal: signal is None)
    grace_s: int | None = Field(default=None, exclude_if=lambda seconds: seconds is None)

    def to_json(self) -> dict[str, Any]:
        """The form that the recorder reads from HARNESS_FAULTS."""
        return self.model_dump(mode="json", exclude_none=True)


class RunFacts(Model):
    """A run without what depends on the clock or on chance, as the manifest has it.

    Attributes:
        trajectory: `straight`, `rerun`, `resumed`, `swept-<n>`, or a control's name.
        number: 1, 2, ... within the trajectory.
        mode: `run` or `resume`: which of the experiment's two commands.
        faults: what was planned; empty for a run that was to finish.
        exit_code: of the command, as the engine recorded it (128 + signal for a signal); a launcher has its own.
        oom_killed: whether the engine (or the kernel's log of the group) says out of memory.
        killed_by: `outside` if the host sent the signal at the fault, `self` if the process died at its fault,
            FIRST_DIFFERENCE if the host ended the run because some training differed already, else None. At a fault
            of kind SIGNAL: `self` if the process died of the signal, BY_ITSELF if it answered and ended by itself,
            `outside` if the host had to end it after the time of grace.
        error: why the run says nothing (engine died, time-out), or None.
        settings: the flags in force, read back from the engine.
    """

    trajectory: str
    number: int
    mode: str
    argv: tuple[str, ...]
    faults: tuple[Fault, ...]
    exit_code: int
    oom_killed: bool
    killed_by: str | None
    error: str | None
    settings: dict[str, JsonValue]

    @property
    def is_planned_kill(self) -> bool:
        """Whether this run was meant to be killed and was, not by lack of memory; the launcher's exit code is free."""
        return bool(self.faults) and self.killed_by is not None and not self.oom_killed

    @property
    def was_stopped_early(self) -> bool:
        """Whether the host ended this run for a difference; it says nothing beyond its last step."""
        return self.killed_by == FIRST_DIFFERENCE


class RunRecord(RunFacts, Document):
    """`run-<number>.json`: what the host saw of a run, whose evidence lies in `runs/<number>` beside it.

    Attributes:
        volatile: ids that the engine gave.
        seconds: wall time of the process.
    """

    volatile: dict[str, JsonValue]
    seconds: float
