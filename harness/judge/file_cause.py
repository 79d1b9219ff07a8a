"""Why a file differs although everything that was recorded of the training is equal."""

from __future__ import annotations

from harness.documents.verdict import Cause
from harness.judge import observations
from harness.judge.diff import FileComparison
from harness.judge.locate import ledger_of
from harness.judge.symptom import Symptom


def file_cause(symptom: Symptom) -> Cause:
    """A file that differs where no stream does."""
    role = symptom.first.stream
    file = next((file for file in symptom.files if file.is_equal is False and file.role == role), None)
    names = ", ".join(file.different[:6]) if file is not None else ""
    is_missing = file is not None and "not there" in (file.left, file.right)
    evidence = [f"every recorded step and the final state are equal; {file.path if file else 'a file'} is not"]
    evidence.append("only one side has it" if is_missing else f"what differs in it: {names or 'its bytes'}")
    if file is not None and file.doubt:
        evidence.append(f"its bytes were compared, not its values: {file.doubt}")
    if file is not None and not is_missing and _are_tensors(symptom, file):
        return _kept_tensors(symptom, file, evidence)
    title, fix = "The training is the same; what was written about it is not", _TIMES_FIX
    if symptom.check == "resume":
        fix = _RESUME_FIX + _TIMES_FIX
    if is_missing:
        title, fix = "The training is the same; a file is there on one side only", _NAMES_FIX
    return Cause(
        kind="output_differs",
        title=title,
        evidence=tuple(evidence),
        ruled_out=("the training itself: ledgers and final state are equal",),
        fix=fix,
    )


_TIMES_FIX = (
    "Keep times, host names and ids out of outputs, or write them as JSON and name their keys under policy.volatile."
)
_RESUME_FIX = (
    "Save what the file is made from (a list of losses, a counter, the best score) in the checkpoint; write rows of "
    "a step once, also when a resume repeats it. "
)
_NAMES_FIX = (
    "Save in the checkpoint what decides which files are written and kept: the best score so far, the list of "
    "checkpoints that are kept. Name files by steps, never by the time."
)


def _kept_tensors(symptom: Symptom, file: FileComparison, evidence: list[str]) -> Cause:
    """Tensors that a script keeps beside the training: the weights of an earlier step, or a mean over them."""
    step = observations.snapshot_step(symptom, file.path)
    if symptom.check != "resume" or step == ledger_of(symptom.left).last_step:
        kind, title = "output_differs", "The training is the same; tensors that were written with it are not"
        fix = "Seed what makes these tensors, or save what they are made from in the checkpoint."
    elif step is None and not observations.has_shapes_of_weights(symptom, file.path, file.different):
        kind, title = "output_differs", "The training is the same; tensors that were written with it are not"
        fix = "Save what these tensors are made from in the checkpoint, and load it on a resume."
    elif step is None:
        kind, title = "average_not_restored", "A moving average of the weights, or the like, was not restored"
        evidence.append("its tensors are the weights after no step of the straight run: they were made from several")
        fix = "Save the moving average (EMA) and its count of updates in the checkpoint, and load both on a resume."
    else:
        kind, title = "best_not_restored", "The best weights so far, or what decides which these are, were not restored"
        evidence.append(f"in the straight run it holds the weights after step {step}")
        fix = "Save the best score so far, and the counter of patience, in the checkpoint, and load them on a resume."
    return Cause(
        kind=kind,
        title=title,
        evidence=tuple(evidence),
        ruled_out=("the training itself: ledgers and final state are equal",),
        fix=fix,
    )


def _are_tensors(symptom: Symptom, file: FileComparison) -> bool:
    """Whether a tensor is among what differs in a file."""
    names = {
        tensor.name
        for one in symptom.straight.files
        if one.path == file.path and one.content is not None
        for tensor in one.content.tensors
    }
    return not names.isdisjoint(file.different)
