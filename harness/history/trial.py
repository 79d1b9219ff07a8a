"""A trial of a bisection: one straight training held against the reference's, and what that says."""

from __future__ import annotations

from harness.documents.bisection import FirstDifference, TrialResult
from harness.documents.run import RunRecord
from harness.evidence.ledger import Ledger
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.diff import compare_files, compare_run
from harness.judge.locate import Difference, ledger_of, locate

_SIGNALLED = 128  # and more: an exit status that stands for a signal


def judge_trial(
    reference: TrajectoryEvidence,
    trial: TrajectoryEvidence,
    problems: tuple[str, ...] = (),
    *,
    is_over: bool = False,
) -> TrialResult:
    """Hold a training against the reference, bit for bit: its steps, its states, and its files where both have some.

    A difference counts even if the training failed later. A training that failed or recorded nothing without having
    differed before says nothing.

    `is_over` says that the trial was ended behind the last step that its experiment declares, so that it has all of its
    steps though not its end.
    """
    run = trial.runs[0] if trial.runs else None
    if run is None or run.ledger is None:
        reason = _reason(problems) or (run.problem if run else None) or "there is no ledger"
        return TrialResult(answer="unresolved", reason=reason, is_lasting=run is not None and _ended_itself(run.record))
    compared = compare_run(reference, trial, 1)
    found = [_where(one, reference, trial) for one in compared.differences[:1]]
    is_over = run.ledger.end is not None or (is_over and not problems and not run.record.was_stopped_early)
    lone = _one_sided(ledger_of(reference.runs[0]), run.ledger, is_over=is_over)
    if lone is not None and (not found or lone.step < found[0].step):
        found = [lone]
    steps = compared.amount.steps
    if found:
        return TrialResult(answer="different", num_steps=steps, where=found[0])
    if problems or run.record.was_stopped_early:
        reason, is_lasting = _reason(problems) or "it was stopped", _ended_itself(run.record)
        return TrialResult(answer="unresolved", num_steps=steps, reason=reason, is_lasting=is_lasting)
    if run.ledger.end is not None and (file := _unequal_file(reference, trial, run.ledger.last_step)) is not None:
        return TrialResult(answer="different", num_steps=steps, where=file)
    if not steps:
        return TrialResult(answer="unresolved", reason="no step was recorded, so nothing was compared")
    return TrialResult(answer="same", num_steps=steps)


def _ended_itself(record: RunRecord) -> bool:
    """Whether the program came to its own end; an engine that died, a time-out or a kill may not be there next time."""
    return record.error is None and not record.oom_killed and record.exit_code < _SIGNALLED


def _reason(problems: tuple[str, ...]) -> str:
    """The first problem, and the last line of the log where one is told, which says what the program itself said."""
    said = next((text.splitlines()[-1].strip() for text in problems if "\n" in text.strip()), "")
    return ": ".join(part for part in (problems[0].partition("\n")[0] if problems else "", said[:200]) if part)


def _where(found: Difference, reference: TrajectoryEvidence, trial: TrajectoryEvidence) -> FirstDifference:
    place = locate(found, reference.runs[0], trial.runs[0])
    return FirstDifference(
        phase=found.phase, step=found.step, stream=found.stream, tensor=place.tensor, micro_batch=place.micro_batch
    )


def _unequal_file(reference: TrajectoryEvidence, trial: TrajectoryEvidence, step: int) -> FirstDifference | None:
    """The first declared file that is not the same; a record that was published has no files to compare."""
    if not reference.files or not trial.files:
        return None
    found = next((one for one in compare_files(reference.files, trial.files) if one.is_equal is False), None)
    return None if found is None else FirstDifference(phase="file", step=step, stream=found.role, tensor=found.path)


def _one_sided(left: Ledger, right: Ledger, *, is_over: bool) -> FirstDifference | None:
    """The first stream that one side alone has, or the first step beyond the end of a training that is over.

    One recorder wrote both, so this is what the programs do, not what was seen of them.
    """
    for one, two in zip(left.steps, right.steps, strict=False):
        if lone := sorted(one.streams.keys() ^ two.streams.keys()):
            return FirstDifference(phase="step", step=two.step, stream=lone[0], note="only one of the two has it")
    is_longer = right.last_step > left.last_step and left.end is not None
    is_shorter = right.last_step < left.last_step and is_over
    if is_longer or is_shorter:
        last, note = min(left.last_step, right.last_step), "only one of the two trains so long"
        return FirstDifference(phase="step", step=last + 1, stream="data", note=note)
    return None
