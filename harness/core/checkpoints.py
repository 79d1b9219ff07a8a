"""Checkpoints: which file a resumed run read, and how much of its state is in that file."""

from __future__ import annotations

from harness.core.evidence import RunEvidence, TrajectoryEvidence
from harness.core.places import state_tensors
from harness.core.restored import Restored
from harness.errors import EvidenceError


def with_checkpoints(resumed: TrajectoryEvidence | None, restored: tuple[Restored, ...]) -> tuple[Restored, ...]:
    """What each resume brought back, with the checkpoint that was read, where it is still what it was."""
    return tuple(_with_file(resumed, one) for one in restored) if resumed is not None else ()


def _with_file(resumed: TrajectoryEvidence, restored: Restored) -> Restored:
    run = resumed.runs[restored.run - 1]
    read = [e.fields.get("path") for e in run.events if e.kind == "restore" and e.fields.get("ok") is True]
    files = [(path, resumed.file(path)) for path in read if isinstance(path, str)]
    path, file = next(((p, f) for p, f in reversed(files) if f is not None), (None, None))
    if path is None and files:
        path = files[-1][0]
    saved_later = any(
        event.kind == "save_end" and event.fields.get("path") == path
        for later in resumed.runs[restored.run - 1 :]
        for event in later.events
    )
    num = None
    if file is not None and file.content is not None and not saved_later:
        num = _num_in_file(run, {str(tensor.digest) for tensor in file.content.tensors})
    return Restored(
        run=restored.run,
        after_step=restored.after_step,
        num_tensors=restored.num_tensors,
        num_equal=restored.num_equal,
        different=restored.different,
        streams=restored.streams,
        file=path,
        num_in_file=num,
    )


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
