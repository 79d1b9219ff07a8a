"""Bisect: train a reference, see that the good side repeats itself and that the bad side differs, then search.

Every trial is one straight training under today's recorder, compared with the good side's ledger. A change that was not
tried is neither blamed nor cleared: what is known about files only orders the trials.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from harness.documents.bisection import Answer, Bisection, Reference, Trial, TrialResult
from harness.documents.experiment import Experiment
from harness.documents.scope import Prefix, prefix_of
from harness.errors import EvidenceError, HarnessError, HostError, Interrupted, UsageError
from harness.evidence.trajectory import TrajectoryEvidence
from harness.history.trial import judge_trial
from harness.history.trial_folder import TrialFolder, load_straight, trial_key
from harness.judge.locate import ledger_of
from harness.report.console import Progress
from harness.runs.campaign import STRAIGHT
from harness.runs.divergence_monitor import DivergenceMonitor
from harness.runs.host import HostSandbox
from harness.runs.request import Request
from harness.runs.runtime import Runner
from harness.system.deferred_signals import interruption_named
from harness.system.git import Exported
from harness.system.project import read_experiment, remember_checkout
from harness.system.sources import recorder_digest
from harness.system.store import Store, disk_errors, write_atomically, write_json
from harness.workflow.training import Trained, Training

_REFERENCE = "reference"
MakeCode = Callable[[Path], None]
B = TypeVar("B", bound=Bisection)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What a trial trains.

    Attributes:
        label: for people: a commit's hash and subject, or names of packages.
        name: of the trial's folder.
        identity: digests that tell its code from other code.
        make: writes the code into a folder that is not there yet.
    """

    label: str
    name: str
    identity: tuple[str, ...]
    make: MakeCode


@dataclass(slots=True)
class Bisector:
    """Makes trials; everything that the trials of one question share.

    Attributes:
        commit: what every process is told that it runs, the good side's, so that it makes no difference by itself.
        reference: what trials are held against, once there is one.
        rows: the trials that were asked for, in order.
        runner: `docker` or `host`, as the reference was trained: a trial by the other would differ for that alone.
        is_ledger_enough: whether what is looked for shows in the steps, so that a training may be stopped at its first
            difference and need not come to its end.
    """

    request: Request
    store: Store
    progress: Progress
    trials: TrialFolder
    commit: str
    reference: TrajectoryEvidence | None = None
    reference_source: str = ""
    runner: Runner | None = None
    rows: list[Trial] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_ledger_enough: bool = False

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.progress.note(text)

    def set_reference(self, evidence: TrajectoryEvidence, source: str, runner: Runner) -> None:
        """From here on trials are held against this, and trained with the same runner."""
        ledger_of(evidence.runs[0])
        self.reference, self.reference_source, self.runner = evidence, source, runner

    def train_reference(self, candidate: Candidate) -> None:
        """Train the good side, for it to be the reference, unless that was done before.

        Raises:
            EvidenceError: it fails, so nothing can be compared with it.
        """
        folder = self.trials.folder / _REFERENCE
        self.runner = None
        if (found := self._read_reference(folder, candidate)) is not None:
            self.set_reference(found[0], "trained in an earlier start of this bisection", found[1])
            return
        folder = self.trials.work(_REFERENCE)
        candidate.make(folder / "code")
        experiment = read_experiment(folder / "code", self.request.name)
        trained = self._train(folder, experiment, self._scope(experiment), monitor=None)
        if trained.problems:
            problem = f"{candidate.label} does not train, so nothing can be compared with it: {trained.problems[0]}"
            raise EvidenceError(problem, "choose a good side that trains; its log is in " + str(folder / STRAIGHT))
        runner: Runner = "host" if trained.ready.sandbox.kind == HostSandbox.kind else "docker"
        write_json(folder / "reference.json", {"key": self._key(candidate), "runner": runner})
        self.set_reference(trained.evidence, "trained now", runner)

    def _read_reference(self, folder: Path, candidate: Candidate) -> tuple[TrajectoryEvidence, Runner] | None:
        """What an earlier start of this bisection trained, if it came to its end."""
        try:
            kept = json.loads((folder / "reference.json").read_text(encoding="utf-8"))
            key, runner = kept["key"], kept["runner"]
            found = load_straight(folder, read_experiment(folder / "code", self.request.name))
        except (OSError, ValueError, KeyError, TypeError, HarnessError):
            return None
        if key != self._key(candidate) or runner not in ("docker", "host") or found.runs[0].ledger is None:
            return None
        return found, runner

    def repeats(self, candidate: Candidate) -> TrialResult:
        """Train the good side again and hold it against the reference; a trial like others, but by its own name."""
        return self.ask(dataclasses.replace(candidate, name=f"again-{candidate.name}"), is_again=True)

    def ask(self, candidate: Candidate, *, is_again: bool = False) -> TrialResult:
        """The answer of a trial: from an earlier one of the same code, or made now.

        Raises:
            Interrupted: Ctrl-C; the answers so far are kept.
        """
        is_whole = is_again or not self.is_ledger_enough
        key = self._key(candidate, again=is_again, whole=is_whole)
        result, was_made = self.trials.read(key), False
        if result is None:
            result, was_made = self._make(candidate, is_whole=is_whole), True
            self.trials.keep(key, result)
        self._tell(candidate, result, was_made=was_made)
        return result

    def _tell(self, candidate: Candidate, result: TrialResult, *, was_made: bool) -> None:
        answered = result.model_dump(exclude={"is_lasting"})
        self.rows.append(Trial(label=candidate.label, folder=candidate.name if was_made else None, **answered))
        how = str(result.where) if result.where else " ".join(result.reason.split())[:200]
        how = how or f"{result.num_steps} steps"
        self.progress.note(f"{result.answer}: {candidate.label}: {how}{'' if was_made else ' (from an earlier trial)'}")

    def _make(self, candidate: Candidate, *, is_whole: bool) -> TrialResult:
        assert self.reference is not None
        self.progress.note(f"training {candidate.label}; like every trial it is told commit {self.commit[:12]}")
        folder = self.trials.work(candidate.name)
        try:
            candidate.make(folder / "code")
            experiment = read_experiment(folder / "code", self.request.name)
            # A commit may train for less than the prefix that is asked for.
            whole = experiment.steps
            scope = self._scope(experiment) if whole is None or (self.request.steps or 0) < whole else None
            monitor = None
            if not is_whole and whole is not None:
                scope = scope or Prefix(steps=whole, of=whole)
                monitor = _monitor(self.reference)
            trained = self._train(folder, experiment, scope, monitor)
            was_stopped = any(run.record.was_stopped_early for run in trained.evidence.runs)
            problems = () if was_stopped else trained.problems
            is_over = scope is None or scope.steps == whole
            return judge_trial(self.reference, trained.evidence, problems, is_over=is_over)
        except Interrupted:
            raise
        except HarnessError as error:
            is_lasting = not isinstance(error, HostError)
            return TrialResult(answer="unresolved", reason=error.problem, is_lasting=is_lasting)
        finally:
            self.trials.lighten(folder)

    def _train(
        self, folder: Path, experiment: Experiment, scope: Prefix | None, monitor: DivergenceMonitor | None
    ) -> Trained:
        request = dataclasses.replace(self.request, runner=self.runner or self.request.runner).checked(experiment)
        code = folder / "code"
        training = Training(
            request=request,
            experiment=experiment,
            source=Exported(folder=code, commit=self.commit),
            store=self.store,
            progress=self.progress,
            folder=folder,
            run_id=f"{self.trials.folder.name}-{folder.name}",
            scope=scope,
            tree=code,
        )
        if monitor is not None:
            training.monitor = monitor
        return training.train()

    def _scope(self, experiment: Experiment) -> Prefix | None:
        return None if self.request.steps is None else prefix_of(experiment, self.request.steps)

    def _key(self, candidate: Candidate, **more: Any) -> str:
        head = None if not more or self.reference is None else str(ledger_of(self.reference.runs[0]).head)
        request = self.request
        asked = {
            "experiment": request.name,
            "steps": request.steps,
            "runner": request.runner,
            "engine": request.engine,
            "python": str(request.python),
            "gpu": request.gpu,
        }
        stands_on = {"code": list(candidate.identity), "recorder": str(recorder_digest()), "reference": head}
        return trial_key({**stands_on, "commit": self.commit, **asked, **more})


def _monitor(reference: TrajectoryEvidence) -> DivergenceMonitor:
    """A monitor that knows every step of the reference, so that a training ends at its first difference from it."""
    monitor = DivergenceMonitor(_REFERENCE, "none")
    for line in reference.runs[0].ledger_bytes.splitlines():
        with contextlib.suppress(ValueError):  # the last line may be torn, where the reference was ended by a kill
            monitor.observe(_REFERENCE, 1, json.loads(line))
    return monitor


@contextlib.contextmanager
def opened_bisection(
    request: Request, store: Store, progress: Progress, question: Mapping[str, object], commit: str
) -> Iterator[Bisector]:
    """The bisector of a question; no other process works at it meanwhile.

    Raises:
        HarnessError: something cannot be done, or Ctrl-C; then the same command goes on with what is kept.
    """
    remember_checkout(store, request.root)
    asked = {"experiment": request.name, "steps": request.steps, "runner": request.runner, **question}
    trials = TrialFolder.open(request.root / "runs" / request.name, asked)
    bisector = Bisector(request, store, progress, trials, commit)
    waiting = f"waiting for another process that uses {trials.folder.name}"
    kept = interruption_named("run the same command again: finished trials are kept")
    with kept, store.in_use(), store.locked(trials.folder.name, lambda: progress.note(waiting)):
        yield bisector


def check_good(bisector: Bisector, good: Candidate) -> None:
    """That the good side repeats itself; else there is nothing to search.

    Raises:
        EvidenceError: it does not, or cannot be trained.
    """
    again = bisector.repeats(good)
    if again.answer == "unresolved":
        raise EvidenceError(f"{good.label} cannot be trained: {again.reason}", "choose a good side that trains")
    if again.answer == "different":
        problem = f"the good side does not repeat itself: {good.label}, trained twice, differs at {again.where}"
        raise EvidenceError(problem, f"make it repeatable first: harness certify {bisector.request.name}")


def check_bad(bisector: Bisector, bad: Candidate) -> TrialResult:
    """That the bad side does not give the good side's bits; else there is nothing to search either.

    Returns:
        What its trial said.

    Raises:
        EvidenceError: it cannot be trained.
        UsageError: both give the same bits.
    """
    found = bisector.ask(bad)
    if found.answer == "unresolved":
        raise EvidenceError(f"{bad.label} cannot be trained: {found.reason}", "choose a bad side that trains")
    if found.answer == "same":
        extent = f"in all {found.num_steps} steps" + (" that were compared" if bisector.request.steps else "")
        remedy = "raise --steps, or leave it out" if bisector.request.steps else "choose a bad side that differs"
        raise UsageError(f"the good and the bad side give the same bits {extent}: there is no change to find", remedy)
    assert found.where is not None
    bisector.is_ledger_enough = found.where.phase in ("start", "step")
    return found


def write_result(bisector: Bisector, kind: type[B], **found: Any) -> B:
    """The document of a bisection, written into its folder as well."""
    assert bisector.reference is not None
    document = kind(
        experiment=bisector.request.name,
        steps=bisector.request.steps,
        runner=bisector.request.runner,
        folder=str(bisector.trials.folder.relative_to(bisector.request.root)),
        reference=Reference(source=bisector.reference_source, steps=ledger_of(bisector.reference.runs[0]).last_step),
        trials=tuple(bisector.rows),
        num_trials=sum(1 for row in bisector.rows if row.folder is not None),
        notes=tuple(bisector.notes),
        **found,
    )
    with disk_errors("writing the result"):
        write_atomically(bisector.trials.folder / "bisect.json", document.write().decode())
    return document


def answers_of(found: dict[int, TrialResult]) -> dict[int, Answer]:
    return {state: result.answer for state, result in found.items()}
