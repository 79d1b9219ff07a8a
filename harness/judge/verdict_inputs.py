"""What a verdict is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from harness.documents.environment import EnvironmentFacts
from harness.documents.manifest import Manifest
from harness.documents.preflight import Preflight
from harness.documents.run import Fault
from harness.documents.scope import Prefix
from harness.documents.verdict import (
    Cause,
    Check,
    ControlResult,
    EnvironmentChange,
    LeftOut,
    ReplayedRecord,
    Restored,
    Review,
    StoppedAt,
)
from harness.errors import EvidenceError
from harness.evidence.ledger import Ledger
from harness.evidence.trajectory import RunEvidence, TrajectoryEvidence
from harness.judge.locate import ledger_of
from harness.judge.tier import Tier

_REMEDY = "take another record of the same commit, or an archive of this one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuild:
    """Ids of the same image built from nothing, each time; `source` says which builds these were."""

    image_ids: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTraining:
    """The archived certify that a replay is compared with.

    Attributes:
        record: how verdict.json names it.
        manifest: its manifest.
        straight: its straight trajectory; files and single tensors only where an archive has them.
        scope: the steps that it has, where only a prefix was certified.
    """

    record: ReplayedRecord
    manifest: Manifest
    straight: TrajectoryEvidence
    scope: Prefix | None = None

    @property
    def num_steps(self) -> int:
        """How many steps its ledger has."""
        return ledger_of(self.straight.runs[0]).last_step

    def check_replayable(self, kind: str) -> None:
        """Refuse what cannot be replayed.

        Args:
            kind: of its verdict: `certify` or `replay`.

        Raises:
            EvidenceError: it was made of uncommitted changes, is itself a replay, or has no ledger.
        """
        source, runs = self.record.source, self.straight.runs
        if kind != "certify":
            raise EvidenceError(f"{source} is the record of a replay", "replay the certify that it was compared with")
        if self.manifest.dirty:
            raise EvidenceError(f"{source} was made of uncommitted changes: no commit has its code", "certify a commit")
        if not runs or runs[0].ledger is None:
            why = runs[0].problem if runs else "it never came to a run"
            raise EvidenceError(f"{source} has no ledger of its straight run: {why}", _REMEDY)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedImage:
    """The image of a replay, and when it was built; `is_new` unless it is the record's own build."""

    id: str | None
    key: str | None = None
    built_at: str = ""
    is_new: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayInputs:
    """What only a replay has.

    Attributes:
        against: the commit whose code was trained instead of the record's; None for the record's own.
        recorder: the digest of the recorder that wrote today's ledger.
        prepared: digests of today's converted inputs.
        environment: values that are not the record's.
        code_changes: files of the code that are not the record's, where `against` names another commit.
    """

    training: RecordedTraining
    against: str | None = None
    recorder: str = ""
    prepared: Mapping[str, str] = field(default_factory=dict)
    image: ReplayedImage = field(default_factory=lambda: ReplayedImage(id=None))
    tier: Tier = field(default_factory=lambda: Tier(name="other"))
    environment: tuple[EnvironmentChange, ...] = ()
    preflight: Preflight = field(default_factory=lambda: Preflight(needs=()))
    code_changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the checks measured, for the review; `diverged` is the check that the cause belongs to, "" for none."""

    inputs: VerdictInputs
    rerun: Check
    resume: Check
    rebuild: Check
    restored: tuple[Restored, ...]
    controls: tuple[ControlResult, ...]
    cause: Cause | None
    diverged: str

    @property
    def whole(self) -> tuple[RunEvidence, Ledger] | None:
        """The straight run and its ledger, if it ended as planned: by itself, or at the end of a prefix."""
        straight = self.inputs.straight
        run = straight.runs[0] if straight is not None and straight.runs else None
        if run is None or run.ledger is None or not (self.is_finished or _is_stopped(run)):
            return None
        return run, run.ledger

    @property
    def is_finished(self) -> bool:
        """Whether the straight run trained to its end and left a whole ledger."""
        straight = self.inputs.straight
        run = straight.runs[0] if straight is not None and straight.runs else None
        return run is not None and run.ledger is not None and run.ledger.end is not None and run.record.exit_code == 0


Reviewer = Callable[[Measured], Review]
"""Judges the checklist, from what it read before and what the checks measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepInputs:
    """A sweep: how many points were asked for, those that were drawn, of how many, and what came of each, by name."""

    num_asked: int
    points: Mapping[str, Fault]
    num_possible: int
    trajectories: Mapping[str, TrajectoryEvidence]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictInputs:
    """Everything that is judged.

    Attributes:
        runner: `docker` or `host`.
        steps: optimizer steps that every training was to do: those that the experiment declares, or of the prefix.
        scope: which prefix was run; None for the whole training.
        overrides: what was set for this run, as `config.lr=0.001`.
        stopped_at: the first difference, at which every training of a prefix was stopped.
        continued: the trajectories that an earlier start of this certify had finished before it was cut off.
        required: the checks that a certificate needs.
        rerun_mode: `second_run`, or `prefix` for the steps before the first kill.
        straight: today's training; None if it never came to a run.
        interruptions: the planned kills; the n-th is that of the n-th run of `resumed`.
        declares_checkpoints: whether the experiment names files as checkpoints.
        sweep: kills at points drawn at random, each in a training of its own; None where nobody asked for them.
        counts_restarts: whether a training that rightly begins again counts like a resume.
        controls: judged controls; those that are missing make the whole INCONCLUSIVE.
        gpus: the UUIDs that every process was given.
        environment: without a container, the interpreter and how it differs from the image's lock.
        problems: what went wrong outside of the evidence; any makes the whole INCONCLUSIVE.
        log_ends: how each run that failed ended, and the last lines of its log, by the run's name.
        review: judges the checklist; None if nothing was reviewed.
        replay: what only a replay has; None for a certify.
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
    declares_checkpoints: bool = False
    sweep: SweepInputs | None = None
    counts_restarts: bool = False
    controls: tuple[ControlResult, ...] = ()
    rebuild: Rebuild | None = None
    gpus: tuple[str, ...] = ()
    environment: EnvironmentFacts | None = None
    problems: tuple[str, ...] = ()
    log_ends: Mapping[str, str] = field(default_factory=dict)
    review: Reviewer | None = None
    scope: Prefix | None = None
    overrides: tuple[str, ...] = ()
    stopped_at: StoppedAt | None = None
    continued: tuple[str, ...] = ()
    replay: ReplayInputs | None = None

    @property
    def is_locked(self) -> bool:
        """Whether the packages are those of the lock: in a container always."""
        return self.environment is None or self.environment.is_locked

    @property
    def failures(self) -> tuple[str, ...]:
        """What went wrong with the runs, as the host saw it."""
        return (*self.problems, *self.log_ends.values())

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """What volatile keys took out of JSON documents, in the training that left most of it."""
        most: dict[tuple[str, str], int] = {}
        for trajectory in (self.straight, self.rerun, self.resumed):
            for file in trajectory.files if trajectory is not None else ():
                for key, num in file.content.left_out if file.content is not None else ():
                    most[file.path, key] = max(num, most.get((file.path, key), 0))
        return tuple(LeftOut(path=path, key=key, num_values=num) for (path, key), num in sorted(most.items()))

    @property
    def stop(self) -> Fault | None:
        """What ends every training of a prefix; None where trainings run to their end."""
        return None if self.scope is None else self.scope.stop


def _is_stopped(run: RunEvidence) -> bool:
    return run.record.is_planned_kill and all(fault.kind == "stop" for fault in run.record.faults)
