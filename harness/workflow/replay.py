"""Replay: verify an archived certify, train its code and locks once more, and compare.

    record -> code -> preflight -> image -> inputs -> prepare -> one straight run -> comparison -> verdict

Nothing of a record is believed before it is verified, and nothing is built before everything it needs is known to be
available. A verdict is on disk from the moment a run id exists.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import harness
from harness.archive.dependencies import restore_packages
from harness.documents.manifest import ImageFacts, ManifestEnvironment
from harness.documents.preflight import Preflight, preflight_lines, preflight_sentence
from harness.documents.scope import Prefix, prefix_of, shortened
from harness.errors import HarnessError, HostError, TamperedError, UsageError
from harness.judge.manifest import environment_of
from harness.judge.tier import tier_of
from harness.judge.verdict import judge
from harness.judge.verdict_inputs import ReplayedImage, ReplayInputs, VerdictInputs
from harness.replay.archived import OpenRecord, changed_files, check_code, keep_copy, locate, open_record, source_of
from harness.replay.availability import LocalSources
from harness.replay.environment_changes import environment_rows
from harness.replay.preflight import PreflightRequest, preflight
from harness.report.console import Progress
from harness.runs import campaign, controls
from harness.runs.request import Request
from harness.system.deferred_signals import interruption_named
from harness.system.git import Exported, find_commit
from harness.system.held import LOCK, held, temporary_folder
from harness.system.project import read_experiment, remember_checkout
from harness.system.sources import sources_digest
from harness.system.store import Store, disk_errors, write_json
from harness.workflow.results import Result, write_documents
from harness.workflow.training import Trained, Training

_PATIENCE_S = 10.0
"""A build takes minutes, so slow sources get longer than where only the preflight was asked for."""

_OTHER = "use a record of the whole training, or leave out --steps"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """What somebody asked to be replayed.

    Attributes:
        running: how processes are started, from which checkout, and how many steps; its name is not used.
        record: a commit's first digits, or the path of an archive or a folder.
        experiment: whose record, where the commit has several.
        against: the commit whose code is trained instead of the record's.
    """

    running: Request
    record: str
    experiment: str | None = None
    against: str | None = None


def look_ahead(request: ReplayRequest, store: Store, progress: Progress) -> Preflight:
    """The preflight alone: whether everything needed is available. Nothing is run, and nothing is left behind.

    Raises:
        HarnessError: there is no such record, or it is not consistent.
    """
    root = request.running.root
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(temporary_folder())
        record = stack.enter_context(_opened(request, store, progress))
        code, _ = _export(request, record, root, scratch, scratch / "trained")
        return preflight(_question(request, record, code, store))


def replay(request: ReplayRequest, store: Store, progress: Progress) -> Result:
    """From the name of a commit, or from an archive, to a verdict.

    Raises:
        HarnessError: there is no record, it is not consistent, or it could not be ended. Once a run id exists, whatever
            happens is written as a verdict as well.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(store.in_use())
        record = stack.enter_context(_opened(request, store, progress))
        work = _Replay(request=request, record=record, store=store, progress=progress)
        work.begin()
        stack.enter_context(held(work.folder / LOCK))
        try:
            with interruption_named("start again"):
                return work.go()
        except HarnessError as error:
            work.give_up(error)
            raise


@contextlib.contextmanager
def _opened(request: ReplayRequest, store: Store, progress: Progress) -> Iterator[OpenRecord]:
    """The record that was asked for, verified."""
    root = request.running.root
    location = locate(root, request.record, request.experiment)
    progress.stage("record", f"verifying {location.shown}")
    began = time.monotonic()
    with open_record(location, root, store, progress.note) as record:
        recorded = record.recorded
        if request.experiment is not None and request.experiment != recorded.record.experiment:
            problem = f"{location.shown} is a record of {recorded.record.experiment}, not of {request.experiment}"
            raise UsageError(problem, "leave out the experiment, or name another record")
        progress.note(record.verification.summary)
        progress.done("record", time.monotonic() - began)
        yield record


def _export(
    request: ReplayRequest, record: OpenRecord, root: Path, scratch: Path, target: Path
) -> tuple[Path, tuple[str, ...]]:
    """The code that is trained, and, where that is another commit's, what is not as it was in the record's.

    `scratch` is an empty folder for what is only compared.
    """
    with disk_errors("exporting the code"):
        if request.against is None:
            source_of(record, root, scratch).export(target)
            check_code(record, target)
            return target, ()
        find_commit(root, request.against).export(target)
        source_of(record, root, scratch).export(scratch / "recorded")
        check_code(record, scratch / "recorded")
        return target, changed_files(scratch / "recorded", target)


def _question(request: ReplayRequest, record: OpenRecord, code: Path, store: Store) -> PreflightRequest:
    name, overrides = record.recorded.record.experiment, record.recorded.manifest.overrides
    try:
        experiment = read_experiment(code, name, overrides)
    except UsageError as error:
        commit = request.against or record.recorded.record.commit[:12]
        raise UsageError(f"at commit {commit}: {error.problem}", error.remedy) from error
    running = dataclasses.replace(request.running, name=name, overrides=overrides).checked(experiment)
    archived = frozenset(record.archive.package_digests.values()) if record.archive is not None else frozenset()
    local = LocalSources(store=store, archived=archived)
    return PreflightRequest(request=running, code=code, experiment=experiment, local=local)


@dataclass(slots=True)
class _Replay:
    """One replay on its way; the methods are called in the order in which they stand."""

    request: ReplayRequest
    record: OpenRecord
    store: Store
    progress: Progress
    folder: Path = field(init=False)
    case: VerdictInputs = field(init=False)
    facts: ReplayInputs = field(init=False)

    def begin(self) -> None:
        """Make the run's folder, with a verdict that says that this has not ended; `latest` is not moved."""
        recorded, root = self.record.recorded, self.request.running.root
        against = None if self.request.against is None else find_commit(root, self.request.against).commit
        commit = against or recorded.record.commit
        run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{commit[:7]}-{secrets.token_hex(2)}"
        self.folder = root / "runs" / recorded.record.experiment / run_id
        runner = self.request.running.runner
        self.facts = ReplayInputs(training=recorded, against=against)
        self.case = VerdictInputs(
            experiment=recorded.record.experiment,
            run_id=run_id,
            commit=commit,
            dirty=False,
            runner="docker" if runner == "auto" else runner,
            steps=recorded.num_steps,
            overrides=recorded.manifest.overrides,
            required=("replay",),
        )
        with disk_errors("making the replay's folder"):
            self.folder.mkdir(mode=0o700, parents=True)
            self._write_verdict("this replay has not finished", 3)

    def go(self) -> Result:
        question = self.export_code()
        self.look_ahead(question)
        training = self.make_training(question)
        trained = training.train()
        document = self.judge(training, trained)
        keep_copy(self.record, self.folder / "record")
        return write_documents(training, self.case.runner, document, (trained.evidence,), trained.materials)

    def export_code(self) -> PreflightRequest:
        """The code of the record's commit, or of the other one, in the run's folder; its experiment, and its extent."""
        root = self.request.running.root
        with self.store.scratch("replay") as scratch:
            code, changes = _export(self.request, self.record, root, scratch, self.folder / "code")
        question = _question(self.request, self.record, code, self.store)
        scope = self._scope(question)
        steps = shortened(question.experiment, scope).steps or self.record.recorded.num_steps
        self.case = dataclasses.replace(self.case, scope=scope, steps=steps)
        self.facts = dataclasses.replace(self.facts, code_changes=changes)
        return question

    def _scope(self, question: PreflightRequest) -> Prefix | None:
        """The prefix that is trained: the one that is asked for, or the one that the record has."""
        recorded, wanted = self.record.recorded, self.request.running.steps
        if wanted is None:
            return None if recorded.scope is None else prefix_of(question.experiment, recorded.scope.steps)
        if wanted > recorded.num_steps:
            raise UsageError(f"--steps {wanted}: the record has only {recorded.num_steps} steps", _OTHER)
        return prefix_of(question.experiment, wanted)

    def look_ahead(self, question: PreflightRequest) -> None:
        """Stop before anything is built if something that is needed is gone.

        Raises:
            HostError: it is, with the remedy.
        """
        self.progress.stage("preflight", "checking that everything needed is still available")
        found = preflight(question, _PATIENCE_S)
        self.facts = dataclasses.replace(self.facts, preflight=found)
        for line in preflight_lines(found):
            self.progress.note(line)
        if found.gone:
            raise HostError(preflight_sentence(found), found.gone[0].remedy)
        self.progress.done("preflight", found.seconds)
        if self.record.archive is not None:
            restore_packages(self.record.archive, self.store, self.progress.note)

    def make_training(self, question: PreflightRequest) -> Training:
        """What runs the training; it is told to build the image once, for the record's id is the other build's."""
        request, case = question.request, self.case
        if (request.root / "lockfiles").is_dir():  # an archive is replayed from any folder
            remember_checkout(self.store, request.root)
        return Training(
            request=request,
            experiment=question.experiment,
            source=Exported(folder=self.folder / "code", commit=case.commit),
            store=self.store,
            progress=self.progress,
            folder=self.folder,
            run_id=case.run_id,
            scope=case.scope,
            algorithm=self.record.recorded.straight.algorithm,
        )

    def judge(self, training: Training, trained: Trained) -> dict[str, Any]:
        """Hold it against the record, and decide."""
        with training.stage("judge", "comparing with the record, bit for bit"):
            recorded, materials = self.record.recorded, trained.materials
            environment = environment_of(materials, (trained.evidence,))
            today = ManifestEnvironment.model_validate(environment, strict=False).to_json()
            declared = training.experiment
            tier = tier_of(recorded.manifest.environment.to_json(), today, declared.environment, declared.gpus)
            own = {
                "version": harness.__version__,
                "recorder": str(materials.recorder),
                "sources": str(sources_digest()),
            }
            image = ImageFacts.model_validate(materials.image, strict=False).to_json()
            runner = trained.ready.sandbox.kind
            facts = {"harness": own, "image": image, "runner": runner, "environment": today}
            archived = recorded.manifest.to_json()
            planned = campaign.plan_campaign(declared, with_controls=False, cores=1)
            checks = (
                controls.check_all({campaign.STRAIGHT: trained.evidence}, self.folder, planned, ())
                if trained.evidence.runs[0].ledger is not None
                else ()
            )
            self.case = dataclasses.replace(
                self.case,
                runner=runner,
                gpus=trained.ready.gpus,
                environment=trained.ready.environment,
                straight=trained.evidence,
                controls=checks,
                problems=trained.problems,
            )
            self.facts = dataclasses.replace(
                self.facts,
                recorder=str(materials.recorder),
                prepared=trained.materials.prepared,
                image=self._image(materials.image, is_same_machine=tier.name == "same machine"),
                tier=tier,
                environment=environment_rows({name: archived[name] for name in facts}, facts),
            )
            return judge(dataclasses.replace(self.case, replay=self.facts)).to_json()

    def _image(self, facts: Any, *, is_same_machine: bool) -> ReplayedImage:
        """The image of this training, and whether somebody built it after the record was made, or elsewhere."""
        if not facts.get("id"):
            return ReplayedImage(id=None)
        built_at = str((self.store.read_record("images", str(facts["key"])) or {}).get("built_at") or "")
        finished = self.record.recorded.record.finished
        is_earlier = bool(built_at and finished) and _moment(built_at) <= _moment(finished)
        return ReplayedImage(
            id=str(facts["id"]),
            key=str(facts["key"]),
            built_at=built_at,
            is_new=not (is_earlier and is_same_machine),
        )

    def give_up(self, error: HarnessError) -> None:
        """An error after the run id exists is a verdict too."""
        with contextlib.suppress(OSError):
            self._write_verdict(error.problem, error.exit_code, is_tampered=isinstance(error, TamperedError))

    def _write_verdict(self, problem: str, exit_code: int, *, is_tampered: bool = False) -> None:
        document = judge(dataclasses.replace(self.case, replay=self.facts, problems=(problem,))).to_json()
        word = "TAMPERED" if is_tampered else "INCONCLUSIVE"
        write_json(self.folder / "verdict.json", {**document, "verdict": word, "exit_code": exit_code})


def _moment(text: str) -> datetime:
    """A moment in a document; one that is none lies before everything."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
