"""The case: everything that a verdict is made from, in one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.documents.environment import EnvironmentFacts
from harness.documents.run import Fault
from harness.documents.scope import Prefix
from harness.documents.verdict import ControlResult
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.first_difference import FirstDifference
from harness.judge.locate import Difference, Location
from harness.review.basis import Basis

Outcome = Literal["CERTIFIED", "DIVERGED", "INCONCLUSIVE", "VETOED"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuild:
    """Ids of the same image built from nothing, each time; `source` says which builds these were."""

    image_ids: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictInputs:
    """Everything that is judged.

    Attributes:
        runner: `docker` or `host`.
        steps: optimizer steps that every training was to do: those that the experiment declares, or of the prefix.
        scope: which prefix was run; None for the whole training.
        stopped_at: the first difference, at which every training of a prefix was stopped.
        required: the oracles that a certificate needs.
        rerun_mode: `second_run`, or `prefix` for the steps before the first kill.
        straight: None if it never came to a run.
        interruptions: the planned kills; the n-th is that of the n-th run of `resumed`.
        is_random: whether their points were drawn at random; only then there is a bound.
        controls: judged controls; those that are missing make the whole INCONCLUSIVE.
        gpus: the UUIDs that every process was given.
        environment: without a container, the interpreter and how it differs from the image's lock.
        problems: what went wrong outside of the evidence; any makes the whole INCONCLUSIVE.
        review: what the review of the pipeline stands on; None if none took place.
    """

    experiment: str
    run_id: str
    commit: str
    dirty: bool
    runner: str
    steps: int
    required: tuple[str, ...] = ("rerun", "resume", "rebuild")
    rerun_mode: str = "second_run"
    straight: TrajectoryEvidence | None = None
    rerun: TrajectoryEvidence | None = None
    resumed: TrajectoryEvidence | None = None
    interruptions: tuple[Fault, ...] = ()
    is_random: bool = False
    controls: tuple[ControlResult, ...] = ()
    rebuild: Rebuild | None = None
    gpus: tuple[str, ...] = ()
    environment: EnvironmentFacts | None = None
    problems: tuple[str, ...] = ()
    review: Basis | None = None
    scope: Prefix | None = None
    stopped_at: FirstDifference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """The first difference: in which oracle, and at which tensor."""

    oracle: str
    difference: Difference
    place: Location
