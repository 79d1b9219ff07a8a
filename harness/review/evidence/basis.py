"""What the rules on evidence look at: what the checks measured, what was read in the code, what the experiment says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.evidence.trajectory import FileEvidence
from harness.judge.verdict_inputs import Measured
from harness.review.evidence.run_files import RunFiles, row_step
from harness.review.evidence.vram import Probe
from harness.review.finding import StaticReview


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What a review stands on, beside the evidence of the runs.

    Attributes:
        static: what was read in the code.
        severities: as pyproject.toml changes them.
        config: the experiment's configuration.
        num_gpus: that a process gets.
        vram_budget_gib: of each GPU.
        lock: what the environment of the runs was made of, in words; "" where it is not known to be pinned.
        files: what the straight run wrote beside its declared files.
        probe: what `--probe` measured; it is believed before what a run recorded.
        is_resume_required: by the experiment's policy; else nothing is forbidden for want of a checkpoint.
    """

    static: StaticReview
    severities: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, object] = field(default_factory=dict)
    num_gpus: int = 0
    vram_budget_gib: float = 24.0
    lock: str = ""
    files: RunFiles = field(default_factory=RunFiles)
    probe: Probe | None = None
    is_resume_required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the rules look at: what the checks measured, and what the review stands on beside it."""

    measured: Measured
    basis: Basis

    @property
    def checkpoints(self) -> tuple[FileEvidence, ...]:
        """The straight run's declared checkpoints."""
        files = self.measured.inputs.straight.files if self.measured.inputs.straight is not None else ()
        return tuple(file for file in files if file.role == "checkpoint")

    @property
    def steps_per_epoch(self) -> int | None:
        """Optimizer steps of an epoch, as the metrics' rows count them; None where they do not say."""
        epochs: dict[int, set[int]] = {}
        for file in self.basis.files.files:
            for row in file.rows:
                epoch, step = row.get("epoch"), row_step(row)
                if type(epoch) is int and step is not None and step > 0:
                    epochs.setdefault(epoch, set()).add(step)
        return max(len(steps) for steps in epochs.values()) if len(epochs) > 1 else None
