"""Checkpoints: which file a resumed run read, and how much of its state is in that file."""

from __future__ import annotations

from harness.documents.verdict import Restored
from harness.errors import EvidenceError
from harness.evidence.trajectory import RunEvidence, TrajectoryEvidence
from harness.judge.locate import state_tensors


def with_checkpoints(resumed: TrajectoryEvidence | None, restored: tuple[Restored, ...]) -> tuple[Restored, ...]:
    """What each resume brought back, with the checkpoint that was read, where it is still what it was."""
    return tuple(_with_file(resumed, one) for one in restored) if resumed is not None else ()


def _with_file(resumed: TrajectoryEvidence, restored: Restored) -> Restored:
    run = resumed.runs[restored.run - 1]
    read = [e.fields.get("path") for e in run.events if e.kind == "restore" and e.fields.get("ok") is True]
    paths = [path for path in read if isinstance(path, str)]
    path = next((path for path in reversed(paths) if resumed.file(path) is not None), paths[-1] if paths else None)
    file = resumed.file(path) if path is not None else None
    num = None
    if file is not None and file.content is not None:
        digests = {str(tensor.digest) for tensor in file.content.tensors}
        if _is_still_of_step(resumed, restored, digests):
            num = _num_in_file(run, digests)
    return restored.model_copy(update={"file": path, "num_in_file": num})


def _is_still_of_step(resumed: TrajectoryEvidence, restored: Restored, digests: set[str]) -> bool:
    """Whether the file holds the weights that an earlier run had after that step: it was not written again later."""
    for run in reversed(resumed.runs[: restored.run - 1]):
        try:
            tensors = state_tensors(run, "step", restored.after_step, "param") if run.ledger is not None else None
        except EvidenceError:
            return False
        if tensors:
            return all(tensor.digest in digests for tensor in tensors.values())
    return False


def _num_in_file(run: RunEvidence, digests: set[str]) -> int | None:
    """How many of the parameters, moments and generators that the process began with are in the checkpoint."""
    if run.ledger is None:
        return None
    try:
        found = [
            state_tensors(run, "start", run.ledger.start.step, s) or {} for s in ("param", "optim", "rng", "buffer")
        ]
    except EvidenceError:
        return None
    return sum(entry.digest in digests for tensors in found for entry in tensors.values())
