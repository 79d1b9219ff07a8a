"""The basis of a review within a certify: what was read in the code, and what the experiment and its run say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.review.evidence.run_files import RunFiles
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
    """

    static: StaticReview
    severities: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    num_gpus: int = 0
    vram_budget_gib: float = 24.0
    lock: str = ""
    files: RunFiles = field(default_factory=RunFiles)
    probe: Probe | None = None
