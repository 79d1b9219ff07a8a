"""One check in the words of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.documents.verdict import (
    Check,
    CheckName,
    Compared,
    ResumePoint,
)
from harness.report.tables import State, Tone
from harness.report.text import count, line, short, size

TONES: Mapping[str, Tone] = {
    "CERTIFIED": "good",
    "DIVERGED": "bad",
    "TAMPERED": "bad",
    "VETOED": "bad",
    "INCONCLUSIVE": "unsure",
    "NOT_CHECKED": "none",
}


_QUESTIONS: Mapping[CheckName, str] = {
    "rerun": "Trained again, does it give the same bits?",
    "resume": "Killed and resumed, does it give the same bits?",
    "rebuild": "Built again from nothing, is the image the same?",
    "replay": "Run again from the archived commit, does it give the same bits?",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckView:
    """One check in words; a text that says nothing is empty, `details` say where resumed runs started and the like."""

    name: CheckName
    title: str
    question: str
    state: State
    required: bool
    how: str
    reason: str
    compared: str
    bound: str
    details: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """Everything that explains the answer."""
        return tuple(note for note in (self.reason, self.how, *self.details, self.bound) if note)


def compared_text(amount: Compared) -> str:
    """`24 steps, 2,304 tensors, 1.2 GiB, 5 files`: what is zero is left out."""
    nouns = {"step": amount.steps, "tensor": amount.tensors, "": amount.bytes, "file": amount.files}
    parts = [count(value, noun) if noun else size(value) for noun, value in nouns.items() if value]
    return ", ".join(parts) or "nothing"


def check_view(name: CheckName, check: Check) -> CheckView:
    ids = check.image_ids
    if len(ids) > 1 and len(set(ids)) == 1:
        images = [f"{len(ids)} builds, each {short(ids[0])}"]
    else:
        images = [f"image {short(one)}" for one in ids]
    return CheckView(
        name=name,
        title=name.capitalize(),
        question=_QUESTIONS[name],
        state=State(check.verdict.replace("_", " "), TONES[check.verdict]),
        required=check.required,
        how=line(check.how),
        reason=line(check.reason),
        compared=count(len(ids), "image id") if ids else compared_text(check.compared),
        bound=line(check.bound or ""),
        details=(*map(_resume_text, check.resumes), *images),
    )


def _resume_text(point: ResumePoint) -> str:
    source = "" if point.step_source in ("", "content") else f" (known by {line(point.step_source)})"
    held = "?" if point.checkpoint_step is None else point.checkpoint_step
    return f"run {point.run}: checkpoint of step {held}, first step {point.started_after_step + 1}{source}"
