"""Kills in the words of a report: where a process was interrupted, how it ended, where the next one began."""

from __future__ import annotations

from harness.documents.verdict import Interruption, UnderSignal
from harness.report.tables import State
from harness.report.text import line

_PLACES = {
    "micro_batch": "after the backward pass of micro-batch {micro_batch} of step {step}",
    "before_step": "before the first forward pass of step {step}",
    "after_step": "right after step {step}",
    "before_write": "before a checkpoint was written, after step {step}",
    "in_write": "while a checkpoint was written, at byte {byte}, after step {step}",
    "after_write": "right after a checkpoint was written, after step {step}",
    "signal": "after the update of step {step}",
    "stop": "after step {step}, where a shortened copy ends",
    "first_difference": "at the first difference, step {step}",
}


def place(kill: Interruption) -> str:
    """Where a run was interrupted, in words."""
    return place_text(kill.kind, kill.step, kill.micro_batch, kill.byte)


def place_text(kind: str, step: int | None, micro_batch: int | None = None, byte: int | None = None) -> str:
    """The same of a kill that was just made; its step may not be known."""
    at = "?" if step is None else step
    if kind == "micro_batch" and micro_batch is None:
        return f"in the middle of step {at}"
    if kind == "signal" and micro_batch is not None:
        kind = "micro_batch"
    if kind == "in_write" and byte is None:
        return f"while a checkpoint was written, after step {at}"
    pattern = _PLACES.get(kind)
    return pattern.format(step=at, micro_batch=micro_batch, byte=byte) if pattern else f"{line(kind)} at step {at}"


def has_come(kill: Interruption) -> bool:
    """Whether a process ended that was to be killed here: what comes first may have ended the whole training."""
    return kill.exit_code is not None or bool(kill.signal) or kill.landed


def ending(kill: Interruption) -> str:
    if not has_come(kill):
        return "there was no such process"
    if kill.under_signal is not None:
        return _answer(kill, kill.under_signal)
    origin = {"outside": " from outside", "self": " to itself"}.get(kill.by, "")
    parts = [f"{line(kill.signal)}{origin}" if kill.signal else "no signal"]
    parts += [] if kill.exit_code is None else [f"exit code {kill.exit_code}"]
    return ", ".join(parts + (["out of memory"] if kill.oom_killed else []))


def _answer(kill: Interruption, answer: UnderSignal) -> str:
    """One line: the signal, how the training ended, what it saved, and whether that was resumed from."""
    code = "" if kill.exit_code is None else f" (exit code {kill.exit_code})"
    parts = [f"{line(kill.signal or 'a signal')}, it ended {answer.ended}{code}"]
    if answer.saved is None:
        parts.append("nothing was saved in answer")
    else:
        read = {True: "which was resumed from", False: "which was NOT resumed from", None: "seen by nobody to be read"}
        parts.append(
            f"saved {line(answer.saved)} after step {answer.saved_after_step}, {read[answer.was_resumed_from]}"
        )
    return ", ".join(parts)


def landed(kill: Interruption) -> State:
    if not has_come(kill):
        return State("not reached", "none")
    return State("yes", "good") if kill.landed else State("no", "unsure")


def went_on(kill: Interruption) -> str:
    after = kill.resumed_after_step
    return "not known" if after is None else f"after step {after}" if after else "from the start"
