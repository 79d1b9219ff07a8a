"""Executions of one step, each of which notes its operators: of the straight run, and of a resumed one or of reruns."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from harness.documents.diagnosis import Operator
from harness.documents.digest import chunks
from harness.documents.run import Fault, RunRecord
from harness.errors import EvidenceError
from harness.evidence.operators import MAX_FILE_BYTES, parse_operators
from harness.evidence.trajectory import RunEvidence
from harness.runs.campaign import RESUMED, STRAIGHT
from harness.runs.context import RunContext
from harness.runs.load_evidence import load_trajectory
from harness.runs.logs import last_lines
from harness.runs.sandbox import describe_exit
from harness.runs.trajectory import copy_trajectory, run_resume_of_copy, run_straight
from harness.system.files import as_files
from harness.system.safe_read import safe_read

MAX_STATE_BYTES = 1 << 36
_BASE = "before-the-step"
_REMEDY = "certify the experiment again, and diagnose that run"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepQuestion:
    """Which step is executed again, and how one comes there.

    Attributes:
        step: the first that differs.
        first_step: the first whose operators are noted, if the execution begins before it.
        kills: what ends the runs before the one whose step it is.
        is_resume: whether a resumed run is held against the straight one; else all are reruns of the straight one,
            which begin at the last checkpoint before the step if there are `kills`.
        rank: whose operators are looked at.
    """

    step: int
    first_step: int
    kills: tuple[Fault, ...]
    is_resume: bool
    rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One that came to the step, with its operators."""

    operators: tuple[Operator, ...]
    run: RunEvidence


class Executor:
    """Executes one step, in folders below the context's; what several executions begin with is trained once.

    An execution that does not come to the step is told in words. `keeps_state`: whether resumed processes may be given
    pieces of the straight one's state.
    """

    def __init__(self, context: RunContext, question: StepQuestion, *, keeps_state: bool) -> None:
        self._context, self.question, self._keeps_state = context, question, keeps_state
        self._faults = (Fault(kind="operators", step=question.first_step), Fault(kind="stop", step=question.step))
        self._base = RESUMED if question.is_resume else _BASE

    def from_nothing(self) -> Executor:
        """The same from the beginning of the training, in a folder of its own."""
        folder = self._context.folder / "from-nothing"
        folder.mkdir()
        context = dataclasses.replace(self._context, folder=folder)
        return Executor(context, dataclasses.replace(self.question, kills=()), keeps_state=self._keeps_state)

    def cancel(self) -> None:
        """End what is executed."""
        self._context.cancel.set()

    def prepare(self) -> None:
        """Train what the executions resume from.

        Raises:
            EvidenceError: a kill did not land where it should.
        """
        for number, kill in enumerate(self.question.kills, start=1):
            if number == 1:
                record = run_straight(self._context, self._base, (kill,))[-1]
            else:
                record = run_resume_of_copy(self._context, self._base, (kill,), number)[-1]
            if not record.is_planned_kill:
                problem = f"run {number} could not be killed as in the run that is diagnosed: {self._why(record)}"
                raise EvidenceError(problem, _REMEDY)

    def straight(self) -> Execution | str:
        """The step in the straight run."""
        if self.question.is_resume:
            kept = (Fault(kind="keep_state", step=self.question.step),) if self._keeps_state else ()
            return self._read(run_straight(self._context, STRAIGHT, (*kept, *self._faults))[-1])
        return self.another(STRAIGHT)

    def another(self, name: str, switch: str | None = None) -> Execution | str:
        """The step once more, resumed or as a rerun, perhaps under a switch; `name` is that of the trajectory."""
        faults = self._faults if switch is None else (Fault(kind=f"set_{switch}", step=1), *self._faults)
        if not self.question.kills:
            return self._read(run_straight(self._context, name, faults)[-1])
        copy_trajectory(self._context, self._base, name)
        return self._read(run_resume_of_copy(self._context, name, faults, len(self.question.kills) + 1)[-1])

    def given(self, piece: str) -> RunEvidence:
        """The resumed process up to the step after, with one piece of the state that the straight one had.

        Raises:
            EvidenceError: the straight one kept none.
        """
        step, folder, name = self.question.step, self._context.folder, f"{RESUMED}-given-{piece}"
        copy_trajectory(self._context, self._base, name)
        kept = safe_read(folder / STRAIGHT, "runs/1/state.pt", max_bytes=MAX_STATE_BYTES)
        with (folder / name / "runs" / "1" / "given.pt").open("wb") as target:
            target.writelines(chunks(kept))
        faults = (Fault(kind=f"give_{piece}", step=step), Fault(kind="stop", step=step + 1))
        return self._run(run_resume_of_copy(self._context, name, faults, len(self.question.kills) + 1)[-1])

    def _run(self, record: RunRecord) -> RunEvidence:
        name = f"{record.trajectory}/{record.number}"
        run = load_trajectory(self._context.folder / record.trajectory, name, (record,), ()).runs[0]
        return run.of_rank(self.question.rank) or run

    def _read(self, record: RunRecord) -> Execution | str:
        name, run = f"{record.trajectory}/{record.number}", self._run(record)
        try:
            if run.ledger is None or not record.is_planned_kill:
                return f"{name} did not come to step {self.question.step}: {self._why(record)}"
            files = as_files(self._context.folder / record.trajectory).below(f"runs/{record.number}")
            suffix = f"-rank{run.rank}" if run.rank else ""
            data = files.read(f"operators{suffix}.jsonl", max_bytes=MAX_FILE_BYTES)
            return Execution(operators=parse_operators(bytes(data), f"{name}/operators.jsonl"), run=run)
        except EvidenceError as error:
            return error.problem

    def _why(self, record: RunRecord) -> str:
        end = last_lines(self._context.folder / record.trajectory / f"log-{record.number}.txt")
        return f"{record.error or f'it ended with {describe_exit(record)}'}\n{end}".rstrip()
