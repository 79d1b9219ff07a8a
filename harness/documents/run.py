"""One run: a process that trained, in one container or as one process of the host; what was asked and what happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SIGKILL_EXIT_CODE = 137
FIRST_DIFFERENCE = "at the first difference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault point as pipelines/README.md defines it; steps are numbered over the whole training."""

    kind: str
    step: int
    micro_batch: int | None = None
    byte: int | None = None
    by: str = "self"

    def to_json(self) -> dict[str, Any]:
        """The form that the recorder reads from HARNESS_FAULTS."""
        fields: dict[str, Any] = {"kind": self.kind, "step": self.step, "by": self.by}
        if self.micro_batch is not None:
            fields["micro_batch"] = self.micro_batch
        if self.byte is not None:
            fields["byte"] = self.byte
        return fields


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What the host saw of one run; its evidence lies in `runs/<number>` of the trajectory's folder.

    Attributes:
        trajectory: `straight`, `rerun`, `resumed`, or a control's name.
        number: 1, 2, ... within the trajectory.
        mode: `run` or `resume`: which of the experiment's two commands.
        faults: what was planned; empty for a run that was to finish.
        exit_code: as the engine recorded it (128 + signal for a signal).
        oom_killed: whether the engine (or the kernel's log of the group) says out of memory.
        killed_by: `outside` if the host sent the signal at the fault, `self` if the process died at its fault,
            FIRST_DIFFERENCE if the host ended the run because some training differed already, else None.
        error: why the run says nothing (engine died, time-out), or None.
        settings: the flags in force, read back from the engine (volatile ids are kept apart under `volatile`).
        seconds: wall time of the process.
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
    settings: dict[str, Any]
    volatile: dict[str, Any]
    seconds: float

    @property
    def is_planned_kill(self) -> bool:
        """Whether this run was meant to be killed and died by SIGKILL, not by lack of memory."""
        return bool(self.faults) and self.exit_code == SIGKILL_EXIT_CODE and not self.oom_killed

    @property
    def was_stopped_early(self) -> bool:
        """Whether the host ended this run for a difference; it says nothing beyond its last step."""
        return self.killed_by == FIRST_DIFFERENCE
