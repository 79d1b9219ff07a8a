"""Diagnose: the first divergent step of a run, executed again, down to the first operator that differs.

    run folder -> step and kills -> code, image, inputs -> executions -> comparison

The run that is diagnosed is only read; what is executed lies in a folder beside it, which is removed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.documents.diagnosis import Confirmation, OperatorDiagnosis
from harness.documents.document import MAX_BYTES
from harness.documents.run import Fault
from harness.documents.verdict import FirstDivergence
from harness.errors import EvidenceError, UsageError
from harness.evidence.ledger import STREAMS
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.confirmation import PIECES, SWITCHES, judge_given, judge_switch, piece_of
from harness.judge.operators import Finding, compare
from harness.judge.symptom import step_of
from harness.report.console import Progress
from harness.runs.campaign import RERUN, RESUMED, STRAIGHT
from harness.runs.executions import Execution, Executor, StepQuestion
from harness.runs.load_evidence import load_trajectory
from harness.runs.request import Request
from harness.runs.run_folders import find_run
from harness.system.deferred_signals import Pool, interruption_named, wait_for
from harness.system.files import FolderFiles
from harness.system.git import Exported
from harness.system.held import temporary_folder
from harness.system.store import Store, disk_errors, tree_digest
from harness.verify.record import Record, read_record
from harness.workflow.certify_session import campaign_of
from harness.workflow.training import Training

_COMPUTED = (*STREAMS, "frozen")
_FROM_NOTHING = ("data", "rng", "lr")
_MAX_STEPS = 20
_AGAIN = "certify the experiment again, and diagnose that run"


def diagnose(
    request: Request, run: str, store: Store, progress: Progress, *, times: int, is_confirmed: bool
) -> OperatorDiagnosis:
    """Execute the first divergent step of a run several times, and name the first operator that differs.

    Args:
        request: how trainings are run; its name and extent are those of the run.
        run: a run's folder or id, or an experiment's name for its latest run.
        store: the cache.
        progress: is told of stages.
        times: how many executions there are of what is not the straight run.
        is_confirmed: whether what is named is tried out in a copy.

    Raises:
        UsageError: there is no such run, or nothing in it that could be diagnosed.
        EvidenceError: the step was not reached again.
        HostError: this machine lacks something.
    """
    if times < 1:
        raise UsageError(f"--times {times}: at least one execution is needed", "give a number from 1 on")
    folder = find_run(request.root, run)
    record = _read(folder)
    first = _first_divergence(record)
    request = dataclasses.replace(request, name=record.manifest.name, **_as_it_ran(request, record))
    with _training(request.checked(record.trained), folder, record, store, progress) as training:
        return _Diagnosis(
            training=training, folder=folder, record=record, first=first, times=times, is_confirmed=is_confirmed
        ).go()


def _as_it_ran(request: Request, record: Record) -> dict[str, Any]:
    """The runner and the interpreter of the run, unless somebody asks for others."""
    interpreter = (record.manifest.volatile.model_extra or {}).get("interpreter")
    runner = record.manifest.runner if request.runner == "auto" else request.runner
    is_given = request.python is not None or runner != "host" or not isinstance(interpreter, str)
    return {"runner": runner, "python": request.python if is_given else Path(str(interpreter))}


def _read(folder: Path) -> Record:
    """The documents of a run that can be diagnosed.

    Raises:
        UsageError: it certifies, or is a record without its code.
    """
    files = FolderFiles(folder)
    if folder.is_dir() and not any(map(files.exists, ("manifest.json", "verdict.json", "code"))):
        raise UsageError(f"{folder} holds no run", "give a folder such as runs/tiny/latest, or an experiment's name")
    if not folder.is_dir() or not (folder / "code").is_dir():
        problem = f"{folder.name} is a published record or an archive, without the code and the evidence of its runs"
        raise UsageError(problem, "certify its commit here, and diagnose that run")
    if not files.exists("manifest.json") or not files.exists("verdict.json"):
        raise UsageError(f"the certify of {folder.name} did not come to its end", _AGAIN)
    record = read_record(*(bytes(files.read(name, max_bytes=MAX_BYTES)) for name in ("manifest.json", "verdict.json")))
    if tree_digest(folder / "code") != record.code:
        raise EvidenceError(f"the code in {folder.name} is not the code that was trained", _AGAIN)
    return record


def _first_divergence(record: Record) -> FirstDivergence:
    """Where the run first differs, if that is in a step.

    Raises:
        UsageError: it does not, or in nothing that operators compute.
    """
    verdict, first = record.verdict, record.verdict.first_divergence
    if first is None:
        remedy = "see its cause and its problems: harness report" if verdict.verdict != "CERTIFIED" else ""
        raise UsageError(f"{verdict.run_id} is {verdict.verdict}, with no difference to diagnose", remedy)
    if first.check == "replay":
        problem = "the first difference is one between two machines or commits, and only one of them is here"
        raise UsageError(problem, "certify both, and compare what differs with `harness diff`")
    if first.stream not in _COMPUTED or first.step < 1:
        raise UsageError(f"the first difference is in {first.stream}, which no training step computes", "see its cause")
    return first


@contextlib.contextmanager
def _training(request: Request, folder: Path, record: Record, store: Store, progress: Progress) -> Iterator[Training]:
    """What trains as the run did, in a folder beside it that is removed afterwards."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(store.in_use())
        stack.enter_context(interruption_named("start again: nothing is kept"))
        with disk_errors("making the diagnosis's folder"):
            scratch = stack.enter_context(temporary_folder(".diagnose-", folder.parent))
        yield Training(
            request=request,
            experiment=record.trained,
            source=Exported(folder=folder / "code", commit=record.manifest.commit, is_dirty=record.manifest.dirty),
            store=store,
            progress=progress,
            folder=scratch,
            run_id=f"diagnose-{os.getpid()}",
        )


@dataclass(slots=True, kw_only=True)
class _Diagnosis:
    """One diagnosis on its way."""

    training: Training
    folder: Path
    record: Record
    first: FirstDivergence
    times: int
    is_confirmed: bool
    num_parallel: int = 1

    def go(self) -> OperatorDiagnosis:
        """Set the trainings up, execute, compare."""
        self.training.algorithm = self.straight().algorithm
        executor, notes = self.executor(self.question()), []
        try:
            executions, failed = self.execute(executor)
        except EvidenceError:
            if executor.question.is_resume or not executor.question.kills:
                raise
            notes.append("from its last checkpoint the training did not come to the step; all began from nothing")
            executor = executor.from_nothing()
            executions, failed = self.execute(executor)
        is_resume = executor.question.is_resume
        if is_resume:
            notes += self.other_bits(executions[0])
        straight, *others = (one.operators for one in executions)
        finding = compare(straight, others, is_resume=is_resume)
        if finding.num_left_out:
            where = f"before step {straight[0].step}, where noting operators began, and are left out"
            notes.append(f"{finding.num_left_out} of {len(executions)} executions had differed {where}")
        confirmations = self.confirm(executor, finding) if self.is_confirmed else ()
        return self.document(finding, (*notes, *failed), tuple(confirmations))

    def executor(self, question: StepQuestion) -> Executor:
        """What executes, with code, image and inputs of the run."""
        code, recorder = self.training.export_code()
        ready = self.training.make_sandbox()
        context, _ = self.training.set_up(ready, code, recorder)
        num_parallel = campaign_of(context.experiment, with_controls=False).num_parallel
        self.num_parallel = 1 if context.sandbox.is_serial else num_parallel
        return Executor(context, question, keeps_state=self.is_confirmed)

    def confirm(self, executor: Executor, finding: Finding) -> Iterator[Confirmation]:
        """Change the one thing that was named in a copy, and see whether the difference goes."""
        if executor.question.is_resume:
            yield self.give(executor, finding)
        elif finding.found == "nothing":
            yield Confirmation(outcome="not tried", detail="no execution differed")
        else:
            for switch in SWITCHES:
                yield (tried := self.turn_on(executor, finding, switch))
                if tried.outcome == "confirmed":
                    return

    def give(self, executor: Executor, finding: Finding) -> Confirmation:
        """Resume with one piece of the straight run's state."""
        piece, straight = piece_of(finding, self.first.stream), self.straight().runs[0]
        if piece is None or straight.ranks:
            why = "the training has several ranks" if piece else "what was named is no state that can be set"
            return Confirmation(outcome="not tried", detail=why)
        with self.training.stage("confirm", f"a resume with {PIECES[piece]} of the straight run"):
            try:
                given = executor.given(piece)
            except EvidenceError as error:
                return Confirmation(outcome="not tried", detail=error.problem)
        name = self.first.trajectory
        told = load_trajectory(self.folder / name, name, self.record.runs[name], (), has_contents=False)
        resumed = told.runs[self.first.run - 1]
        if given.ledger is None or resumed.ledger is None or straight.ledger is None:
            return Confirmation(outcome="not tried", detail=given.problem or "the run's own ledgers cannot be read")
        return judge_given(piece, straight, resumed, given, self.first.step)

    def turn_on(self, executor: Executor, finding: Finding, switch: str) -> Confirmation:
        """Rerun under a switch as often as without it."""
        with self.training.stage("confirm", f"{self.times + 1} reruns under {SWITCHES[switch]}"):
            names = [f"{RERUN}-{switch}-{number}" for number in range(self.times + 1)]
            results = self.side_by_side(executor, [partial(executor.another, name, switch) for name in names])
        reached = [one.operators for one in results if isinstance(one, Execution)]
        if len(reached) < 2:
            failed = next(one for one in results if isinstance(one, str))
            return Confirmation(outcome="not tried", detail=f"under {SWITCHES[switch]} {failed}")
        return judge_switch(switch, finding, reached[0], reached[1:])

    def question(self) -> StepQuestion:
        """Which step, and what ends the runs before the one whose step it is."""
        first, is_resume = self.first, self.first.check == "resume" and self.first.run > 1
        if is_resume:
            runs = self.record.runs.get(first.trajectory, ())[: first.run - 1]
            kills = tuple(next(fault for fault in run.faults if fault.kind != "stop") for run in runs)
        else:
            kills = (Fault(kind="before_step", step=first.step),) if self.has_checkpoint() else ()
        # What differs now and then may do so in an earlier step today.
        first_step = first.step if is_resume else max(1, first.step - _MAX_STEPS + 1)
        return StepQuestion(
            step=first.step, first_step=first_step, kills=kills, is_resume=is_resume, rank=first.rank or 0
        )

    def has_checkpoint(self) -> bool:
        """Whether a rerun can begin at a checkpoint before the step: what is drawn is drawn from the beginning."""
        if self.first.stream in _FROM_NOTHING:
            return False
        steps = [event.fields.get("step") for event in self.straight().runs[0].events if event.kind == "save_end"]
        return any(isinstance(step, int) and 0 < step < self.first.step for step in steps)

    def execute(self, executor: Executor) -> tuple[list[Execution], list[str]]:
        """The straight execution and the others after it, and why some did not come to the step.

        Raises:
            EvidenceError: the straight one did not, or none of the others.
        """
        name = RESUMED if executor.question.is_resume else RERUN
        detail = f"step {self.first.step} as {STRAIGHT} and {self.times} times as {name}"
        with self.training.stage("executions", f"{detail}; {self.num_parallel} side by side"):
            executor.prepare()
            works = [partial(executor.another, f"{name}-{number}") for number in range(1, self.times + 1)]
            straight, *others = self.side_by_side(executor, [executor.straight, *works])
        failed = [one for one in others if isinstance(one, str)]
        if isinstance(straight, str) or len(failed) == len(others):
            raise EvidenceError(straight if isinstance(straight, str) else failed[0], _AGAIN)
        return [straight, *(one for one in others if isinstance(one, Execution))], failed

    def side_by_side(self, executor: Executor, works: Sequence[Callable[[], Execution | str]]) -> list[Execution | str]:
        """The results of executions, in their order."""
        with Pool(self.num_parallel) as pool:
            futures = [pool.submit(work) for work in works]
            try:
                wait_for(futures)
                return [future.result() for future in futures]
            except BaseException:
                executor.cancel()
                for future in futures:
                    future.cancel()
                raise

    def other_bits(self, straight: Execution) -> Iterator[str]:
        """That the straight run's step gives other bits under the digests, or today, than it gave in the run."""
        before = self.straight().runs[0].of_rank(straight.run.rank)
        pair = [step_of(run, self.first.step) for run in (before, straight.run) if run is not None and run.ledger]
        if len({None if one is None else tuple(sorted(one.streams.items())) for one in pair}) > 1:
            yield "today the straight run's step gave other bits than in the run: this may be another difference"

    def straight(self) -> TrajectoryEvidence:
        """The straight training of what is diagnosed."""
        runs = self.record.runs[STRAIGHT]
        return load_trajectory(self.folder / STRAIGHT, STRAIGHT, runs, (), has_contents=False)

    def document(
        self, finding: Finding, notes: tuple[str, ...], confirmations: tuple[Confirmation, ...]
    ) -> OperatorDiagnosis:
        verdict, first, cause = self.record.verdict, self.first, self.record.verdict.cause
        return OperatorDiagnosis(
            experiment=verdict.experiment,
            run_id=verdict.run_id,
            check=first.check,
            step=first.step,
            stream=first.stream,
            found=finding.found,
            sentence=finding.sentence,
            cause=f"{cause.title} ({cause.kind})" if cause is not None and cause.kind != "unknown" else "",
            operator=finding.operator,
            nearby=finding.nearby,
            states=finding.states,
            executions=finding.executions,
            differ=finding.differ,
            interval=finding.interval,
            fix=finding.advice.fix,
            source=finding.advice.source,
            notes=notes,
            confirmations=confirmations,
        )
