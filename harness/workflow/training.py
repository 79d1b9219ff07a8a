"""One training, from code that lies in a folder to its evidence: what a replay and a bisection are made of.

    code -> engine -> image -> inputs -> prepare -> one straight run -> evidence

Image, locks, inputs and what is trained are those of that code, whichever commit is checked out; the recorder, the
sandbox and the reader of the evidence are those of this version. Nothing is compared and nothing is decided here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from harness.documents.digest import Digest, canonical_json
from harness.documents.experiment import Experiment
from harness.documents.inputs import LOCAL, Input
from harness.documents.run import RunRecord
from harness.documents.scope import Prefix, shortened
from harness.evidence.content import Content
from harness.evidence.tensor_digest import ALGORITHM
from harness.evidence.trajectory import TrajectoryEvidence
from harness.inputs.fetch import fetch_input
from harness.inputs.local import local_digest
from harness.judge.manifest import Materials
from harness.judge.soundness import gpu_problems, num_steps, trajectory_problems
from harness.report.console import Progress
from harness.runs import campaign
from harness.runs.context import RunContext
from harness.runs.divergence_monitor import DivergenceMonitor
from harness.runs.load_evidence import load_trajectory
from harness.runs.logs import last_lines
from harness.runs.preparation import preparation_key, prepare
from harness.runs.recorder_check import check_recorder
from harness.runs.request import Request
from harness.runs.runtime import Runtime, RuntimeRequest, make_runtime
from harness.runs.sandbox import describe_exit
from harness.runs.trajectory import run_straight
from harness.system import machine
from harness.system.git import Source
from harness.system.sources import RECORDER, recorder_digest
from harness.system.store import Store, disk_errors, tree_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A training that took place.

    Attributes:
        evidence: of the trajectory `straight`; it may be that of a training that failed, then `problems` say how.
        ready: the sandbox, with the id of the image.
        materials: what went into it, for a manifest.
        problems: everything that was not as planned, in words; empty for a training that can be compared.
    """

    evidence: TrajectoryEvidence
    ready: Runtime
    materials: Materials
    problems: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Training:
    """A training on its way; the methods are called in the order in which they stand.

    Attributes:
        source: where the code comes from; image, locks, inputs and what is trained are all taken from it.
        folder: where everything is written.
        scope: the prefix that is trained; None for the whole training.
        tree: where the code lies once it is exported, if not in `folder`.
        is_rebuilt: whether the image is built twice where the experiment's policy requires it.
        monitor: told of every step of a prefix, and ends trainings at their first difference.
        seconds: what each stage took.
    """

    request: Request
    experiment: Experiment
    source: Source
    store: Store
    progress: Progress
    folder: Path
    run_id: str
    scope: Prefix | None = None
    tree: Path | None = None
    is_rebuilt: bool = False
    algorithm: str = ALGORITHM
    monitor: DivergenceMonitor = field(default_factory=lambda: DivergenceMonitor(campaign.STRAIGHT, campaign.RERUN))
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def code(self) -> Path:
        """Where the code lies once it is exported."""
        return self.folder / "code" if self.tree is None else self.tree

    def train(self) -> Trained:
        """Every stage of one straight training.

        Raises:
            HarnessError: it could not be started, or Ctrl-C.
        """
        code, recorder = self.export_code()
        ready = self.make_sandbox()
        context, materials = self.set_up(ready, code, recorder)
        with self.stage("run", "one straight training" + (f", {context.scope.text}" if context.scope else "")):
            records = {campaign.STRAIGHT: run_straight(context, campaign.STRAIGHT)}
        with self.stage("evidence", "reading the ledger and the declared files"):
            evidence = self.load(campaign.STRAIGHT, records[campaign.STRAIGHT], {})
        stop = None if context.scope is None else context.scope.stop
        found = trajectory_problems(evidence, steps=num_steps(context.experiment.steps, evidence), kills=(), stop=stop)
        problems = (*found, *gpu_problems(evidence, len(ready.gpus)), *self.log_ends(records).values())
        return Trained(evidence=evidence, ready=ready, materials=materials, problems=problems)

    @contextlib.contextmanager
    def stage(self, name: str, detail: str) -> Iterator[None]:
        """Tell of a stage and take its time in seconds."""
        self.progress.stage(name, detail)
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 3)
        self.progress.done(name, self.seconds[name])

    def note(self, text: str) -> None:
        self.progress.note(text)

    def warn(self, text: str) -> None:
        self.progress.warn(text)

    def export_code(self) -> tuple[Digest, Digest]:
        """A clean export of the commit; the digests of the code and of the recorder."""
        state = ", with uncommitted changes" if self.source.is_dirty else ""
        with self.stage("code", f"commit {self.source.commit[:12]}{state}"), disk_errors("exporting the code"):
            self.source.export(self.code)
            (self.folder / "config.json").write_bytes(canonical_json(self.experiment.config) + b"\n")
            return tree_digest(self.code), recorder_digest()

    def make_sandbox(self) -> Runtime:
        """Containers of the built image, or a process of the host, with the GPUs that are asked for."""
        wanted = RuntimeRequest(
            root=self.code,
            image=self.experiment.image,
            num_gpus=self.experiment.gpus,
            runner=self.request.runner,
            engine=self.request.engine,
            gpu=self.request.gpu,
            python=self.request.python,
            is_rebuild_required=self.is_rebuilt and "rebuild" in self.experiment.policy.required,
        )
        return make_runtime(wanted, self.store, self)

    def set_up(self, ready: Runtime, code: Digest, recorder: Digest) -> tuple[RunContext, Materials]:
        """Fetch and convert the inputs; what all runs have in common, and what goes into them.

        Raises:
            HostError: trainings would not be recorded.
        """
        check_recorder(self._context(ready, {}))
        context = self._context(ready, self._fetch_inputs())
        prepared: Mapping[str, str] = {}
        if self.experiment.prepare:
            with self.stage("prepare", "inputs are converted twice from scratch and compared, unless nothing changed"):
                tree, prepared = prepare(context, self.store, preparation_key(context, ready.image_id, code))
            context = dataclasses.replace(context, prepared=tree)
        return context, self.materials(code, recorder, ready, prepared)

    def materials(
        self, code: Digest, recorder: Digest, ready: Runtime | None = None, prepared: Mapping[str, str] | None = None
    ) -> Materials:
        """What went into the runs; without a runtime, of a certify that ended before anything was built."""
        environment = ready.environment if ready else None
        return Materials(
            commit=self.source.commit,
            is_dirty=self.source.is_dirty,
            code=code,
            recorder=recorder,
            image=ready.facts if ready else {"name": self.experiment.image, "id": None},
            prepared=prepared or {},
            host=machine.host_facts(),
            gpu=(ready.gpu if ready else None) or {},
            interpreter=environment.to_json() if environment else None,
        )

    def load(
        self, name: str, runs: tuple[RunRecord, ...], known: dict[tuple[str, Digest], Content]
    ) -> TrajectoryEvidence:
        """What a trajectory left behind, read; `known` as `load_trajectory` has it."""
        declared = self.experiment
        return load_trajectory(
            self.folder / name,
            name,
            runs,
            declared.outputs,
            declared.checkpoints,
            declared.policy.volatile,
            known,
            declared.derived,
        )

    def log_ends(self, records: campaign.Records) -> dict[str, str]:
        """The end of the log of every run that failed."""
        failed = [run for runs in records.values() for run in runs if run.exit_code != 0 and not run.is_planned_kill]
        return {
            f"{run.trajectory}/{run.number}": f"{run.trajectory}/{run.number} ended with {describe_exit(run)}"
            f"{': ' + run.error if run.error else ''}\n"
            f"{last_lines(self.folder / run.trajectory / f'log-{run.number}.txt')}"
            for run in failed
        }

    def _fetch_inputs(self) -> dict[str, Path]:
        """Every input, fetched and verified."""
        declared = [value.named(name) for name, value in sorted(self.experiment.inputs.items())]
        with self.stage("inputs", ", ".join(value.name for value in declared) or "none"), disk_errors("the inputs"):
            return {
                value.name: fetch_input(value, self.store, self._root_of(value), self.progress.note)
                for value in declared
            }

    def _root_of(self, value: Input) -> Path:
        """What an input's path is below: the code, or the checkout, for files that are not committed."""
        if value.kind not in LOCAL or local_digest(value, self.code) == value.sha256:
            return self.code
        return self.request.root

    def _context(self, ready: Runtime, inputs: Mapping[str, Path]) -> RunContext:
        """What all runs have in common."""
        return RunContext(
            experiment=shortened(self.experiment, self.scope),
            name=self.request.name,
            run_id=self.run_id,
            commit=self.source.commit,
            sandbox=ready.sandbox,
            folder=self.folder,
            code=self.code,
            config=self.folder / "config.json",
            recorder=RECORDER,
            inputs=inputs,
            prepared=None,
            listener=self.progress,
            cancel=threading.Event(),
            scope=self.scope,
            monitor=None if self.scope is None else self.monitor,
            algorithm=self.algorithm,
        )
