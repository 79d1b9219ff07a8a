"""Crashes: a resumed run that ended with an exception, or by itself before it trained, and not by the machine.

Lack of memory, of disk space or of a GPU is an infrastructure's fault, and says nothing about the training.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.documents.run import Fault
from harness.documents.verdict import Cause
from harness.evidence.ledger import Event
from harness.evidence.trajectory import RunEvidence, TrajectoryEvidence
from harness.judge.repair import ATOMIC, patch
from harness.judge.soundness import has_landed

_EXCEPTION = re.compile(r"^(?:\S+ )?(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Warning)\b(?::|$)")
_INFRASTRUCTURE = re.compile(
    r"out of ?memory|MemoryError|can(?:no|')t allocate memory|Unable to allocate|bad_alloc|No space left on device"
    r"|Disk quota exceeded|Input/output error|Read-only file system|Stale file handle|Too many open files"
    r"|Resource temporarily unavailable|can't start new thread|CUDA error(?!: device-side assert)|CUDNN_STATUS"
    r"|CUBLAS_STATUS|NCCL|no CUDA-capable device|Found no NVIDIA driver|GPU is lost|Bus error"
    r"|Connection re(?:fused|set)",
    re.IGNORECASE,
)
_MAX_EXIT_CODE = 125  # 126 and 127: the command could not be started; from 128 on: a signal
_MAX_LINE = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """A resumed run that ended with an exception, or by itself without a step.

    Attributes:
        after_step: the last step that it recorded; None if it recorded none.
        exception: the exception's last line, as the log has it, or its type; "" if it ended by itself.
        done: how many steps were done before it.
        torn: the file that was being written when the kill came; "" for none.
        unread: the file that it could not read; "" for none.
    """

    run: RunEvidence
    after_step: int | None
    exception: str
    done: int
    torn: str
    unread: str

    @property
    def sentence(self) -> str:
        """What happened."""
        if not self.exception:
            return f"{self.run.name}, a resume, ended without training: it came to no step after step {self.done}"
        when = "before its first step" if self.after_step is None else f"after step {self.after_step}"
        return f"{self.run.name}, a resume, crashed {when}: {self.exception}"


def resume_crash(
    resumed: TrajectoryEvidence, kills: Sequence[Fault], log_ends: Mapping[str, str], steps: int
) -> Crash | None:
    """The first resumed run that ended too early of its own doing although the kill before it came as planned."""
    for place, run in enumerate(resumed.runs[1:], start=1):
        killed = resumed.runs[place - 1]
        if place > len(kills) or not has_landed(killed, kills[place - 1], steps):
            return None
        done = max((one.ledger.last_step for one in resumed.runs[:place] if one.ledger is not None), default=0)
        text = exception_of(run, log_ends.get(run.name, ""), steps)
        if text is not None or (done < steps and _trained_nothing(run)):
            return Crash(
                run=run,
                after_step=run.ledger.steps[-1].step if run.ledger is not None and run.ledger.steps else None,
                exception=text or "",
                done=done,
                torn=_torn(resumed.runs[:place]),
                unread=_unread(run),
            )
    return None


def _trained_nothing(run: RunEvidence) -> bool:
    """Whether a run ended by itself, was recorded, read a checkpoint, and made no step."""
    record, kinds = run.record, {event.kind for event in run.events}
    if record.exit_code != 0 or record.error or record.was_stopped_early or record.killed_by or run.ledger_bytes:
        return False
    has_read = any(event.kind == "restore" and event.fields.get("ok") is True for event in run.events)
    return run.ledger is None and has_read and "exit" in kinds and "recorder_error" not in kinds


def nothing_saved(straight: TrajectoryEvidence, resumed: TrajectoryEvidence) -> str | None:
    """That a resume had nothing to read, where the kill came before the first checkpoint of the straight run."""
    outputs = {file.path for file in straight.files if file.role == "output"}
    first = next((e for run in straight.runs for e in _begun(run) if e.fields.get("path") not in outputs), None)
    if first is None or len(resumed.runs) < 2 or resumed.runs[1].ledger is not None:
        return None
    killed = resumed.runs[0]
    num = len(_begun(killed)) - any(fault.kind == "before_write" for fault in killed.record.faults)
    if num > 0:
        return None
    when = f"after step {first.fields.get('step')}"
    return f"{resumed.runs[1].name} had nothing to resume from: interrupt after the first checkpoint, written {when}"


def _begun(run: RunEvidence) -> list[Event]:
    return [event for event in run.events if event.kind == "save_begin"]


def exception_of(run: RunEvidence, log_end: str, steps: int) -> str | None:
    """What a run died of, in its own words; None if it did not, or if the machine was why."""
    record = run.record
    types = [str(event.fields.get("type")) for event in run.events if event.kind == "exception"]
    is_end = 0 < record.exit_code <= _MAX_EXIT_CODE
    if record.error or record.oom_killed or record.was_stopped_early or record.killed_by or not is_end:
        return None
    ended = run.ledger is not None and run.ledger.end is not None and run.ledger.last_step >= steps
    if ended and not types:
        return None  # what went wrong after the training did not end it
    lines = [line.removeprefix("  | ").strip() for line in log_end.splitlines()[1:]]
    if any(_INFRASTRUCTURE.search(text) for text in (*lines, *types)):
        return None
    named = [line for line in lines if _EXCEPTION.search(line)]
    last = [line for line in lines if line]
    found = [*(named or last)[-1:], *types[-1:], f"exit code {record.exit_code}"]
    return found[0][:_MAX_LINE]


def crash_cause(crash: Crash) -> Cause:
    """The crash as a cause."""
    if not crash.exception:
        return ends_at_another_step(is_resume=True, evidence=(crash.sentence,))
    evidence = [crash.sentence]
    if crash.torn:
        evidence.append(f"{crash.torn} was being written when the kill came, and was never finished")
    if crash.unread:
        evidence.append(f"it could not read {crash.unread}")
    fix = (
        "Write each checkpoint under another name and rename it when it is whole; a resume takes the newest whole one."
        if crash.torn
        else "Run the resume command on what the killed training left, and mend what the exception names."
    )
    return Cause(
        kind="resume_crashed",
        title=f"The resume crashed: {crash.exception}",
        evidence=tuple(evidence),
        ruled_out=("lack of memory or of disk space: the log names neither",),
        fix=fix,
        patch=patch(ATOMIC) if crash.torn else "",
    )


def ends_at_another_step(*, is_resume: bool, evidence: tuple[str, ...], ruled_out: tuple[str, ...] = ()) -> Cause:
    """Two trainings ended by themselves, after different steps."""
    return Cause(
        kind="ends_at_another_step",
        title="The resumed training ends at another step" if is_resume else "A second run ends at another step",
        evidence=evidence,
        ruled_out=ruled_out,
        fix="Save how many steps (or epochs and batches) were done, and count on from there: a loop that counts from "
        "zero again, or that ends by the clock, trains another number of steps."
        if is_resume
        else "End the training after a number of steps, not by the clock or by what a random draw gives.",
    )


def _torn(earlier: Sequence[RunEvidence]) -> str:
    """The file whose write had begun and was not over when the last of these runs was killed."""
    last = earlier[-1]
    begun = [event.fields.get("path") for event in last.events if event.kind == "save_begin"]
    over = [event.fields.get("path") for event in last.events if event.kind == "save_end"]
    return str(begun[-1])[:_MAX_LINE] if len(begun) > len(over) and begun[-1] is not None else ""


def _unread(run: RunEvidence) -> str:
    failed = [e.fields.get("path") for e in run.events if e.kind == "restore" and e.fields.get("ok") is False]
    return str(failed[-1])[:_MAX_LINE] if failed and failed[-1] is not None else ""
