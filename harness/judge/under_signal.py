"""What a training did that was sent a signal it may answer: how it ended, what it saved, and what was resumed from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from harness.documents.run import BY_ITSELF, SIGNAL, Fault
from harness.documents.verdict import SignalEnd, UnderSignal
from harness.evidence.trajectory import RunEvidence
from harness.judge.resume_step import SavedFiles, steps_read

_ENDS: Mapping[str | None, SignalEnd] = {
    BY_ITSELF: "by itself",
    "outside": "by SIGKILL after the time of grace",
}


def under_signal(kill: Fault, run: RunEvidence, following: RunEvidence | None) -> UnderSignal | None:
    """What came of a signal that ended a training; None for a kill of another kind.

    Args:
        kill: the planned one.
        run: that was sent it.
        following: the resumed one.
    """
    if kill.kind != SIGNAL:
        return None
    after = _after_signal(run)
    saved = SavedFiles((after,)).last
    read = steps_read((after,), following) if following is not None else []
    path, step = (read[-1] if read else saved) or (None, None)
    return UnderSignal(
        grace_s=kill.grace_s or 0,
        ended=_ENDS.get(run.record.killed_by, "by the signal"),
        saved=path,
        saved_after_step=step,
        was_resumed_from=True if read else _is_ruled_out(saved, following),
    )


def has_saved_under_signal(runs: Iterable[RunEvidence]) -> bool:
    """Whether a training wrote a file that it would not have written had nobody told it to end."""
    return any(SavedFiles((_after_signal(run),)).paths for run in runs)


def _after_signal(run: RunEvidence) -> RunEvidence:
    """The run with those of its events alone that came after the signal; with none if there was no signal."""
    for place, event in enumerate(run.events):
        fault = event.fields.get("fault")
        if event.kind == "fault" and isinstance(fault, dict) and fault.get("kind") == SIGNAL:
            return replace(run, events=run.events[place + 1 :])
    return replace(run, events=())


def _is_ruled_out(saved: tuple[str, int] | None, following: RunEvidence | None) -> bool | None:
    """False where the resumed run stands elsewhere than what was saved; it may have been read in a way nobody saw."""
    if saved is None or following is None or following.ledger is None:
        return None
    return None if following.ledger.start.step == saved[1] else False
