"""Symptoms: what a diagnosis looks at, and the sentences that say what was measured there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.errors import EvidenceError
from harness.evidence.ledger import STREAMS, Ledger, StepRecord, TensorEntry
from harness.evidence.trajectory import RunEvidence, TrajectoryEvidence
from harness.judge.diff import FileComparison, RunComparison
from harness.judge.locate import Difference, Location, ledger_of, record_at, state_tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptom:
    """What a diagnosis starts from.

    Attributes:
        check: `rerun` or `resume`: which one found the difference.
        straight: the straight trajectory.
        other: the one that differs.
        comparison: of the run in which the first difference lies.
        first: the first difference.
        place: the tensor, if it could be found.
        files: the declared files, compared.
        rerun_steps: how many steps of a second process were found equal; 0 if none was compared.
    """

    check: str
    straight: TrajectoryEvidence
    other: TrajectoryEvidence
    comparison: RunComparison
    first: Difference
    place: Location
    files: tuple[FileComparison, ...]
    rerun_steps: int

    @property
    def left(self) -> RunEvidence:
        """The straight run."""
        return self.straight.runs[0]

    @property
    def right(self) -> RunEvidence:
        """The run that differs."""
        return self.other.runs[self.first.run - 1]

    @property
    def resumed_at(self) -> int | None:
        """After which step the run was resumed; None if it was not."""
        return ledger_of(self.right).start.step if self.first.run > 1 else None

    @property
    def is_first_step(self) -> bool:
        """Whether the first difference is in the first step of its process."""
        return self.first.step == ledger_of(self.right).start.step + 1


def came_back(symptom: Symptom) -> tuple[str, ...]:
    """What a resume did restore, and that the pipeline repeats."""
    restored = symptom.comparison.restored
    start = ledger_of(symptom.right).start
    equal = [
        stream
        for stream in ("rng", "optim", "param", "buffer", "frozen")
        if restored is not None and stream in start.streams and stream not in restored.streams
    ]
    rerun = (rerun_sentence(symptom),) if symptom.rerun_steps else ()
    return (*((f"lost state elsewhere: {names_of(equal)} came back bit for bit",) if equal else ()), *rerun)


def tensors_of_step(
    symptom: Symptom, run: RunEvidence, stream: str, step: int | None = None
) -> Mapping[str, TensorEntry]:
    """The tensors of a stream at the first difference's step, or at another; empty where they cannot be had."""
    try:
        return state_tensors(run, "step", symptom.first.step if step is None else step, stream) or {}
    except EvidenceError:
        return {}


def entry_at(symptom: Symptom, stream: str, tensor: str) -> tuple[str, tuple[int, ...]] | None:
    """The dtype and shape of a live tensor after the resume."""
    start = ledger_of(symptom.right).start
    try:
        tensors = state_tensors(symptom.right, "start", start.step, stream)
    except EvidenceError:
        return None
    entry = (tensors or {}).get(tensor)
    return None if entry is None else (entry.dtype, entry.shape)


def before(first: Difference, symptom: Symptom) -> tuple[str, ...]:
    """What was equal up to the first difference."""
    ledger = ledger_of(symptom.right)
    said = []
    if first.phase in ("step", "eval", "end") and first.step > ledger.start.step + 1:
        said.append(f"anything earlier: steps {ledger.start.step + 1} to {first.step - 1} of this run are equal")
    if first.phase == "step":
        record = record_at(ledger, "step", first.step)
        streams = STREAMS[: STREAMS.index(first.stream)] if first.stream in STREAMS else ()
        equal = [stream for stream in streams if record is not None and stream in record.streams]
        if equal:
            said.append(f"{names_of(equal)}: equal at that step")
    if symptom.resumed_at is not None:
        said += came_back(symptom)
    return tuple(said)


def rerun_sentence(symptom: Symptom) -> str:
    """That a second process repeated the straight run."""
    return f"a pipeline that does not repeat: {symptom.rerun_steps} steps of a second process are equal"


def equal_inputs(symptom: Symptom) -> str:
    """What goes into a step and is equal on both sides."""
    record = record_at(ledger_of(symptom.right), "step", symptom.first.step)
    names = [stream for stream in ("data", "rng", "lr") if record is not None and stream in record.streams]
    if symptom.first.stream == "grad":
        names.append("loss")
    return names_of([*names, "the parameters before it"])


def tensor_evidence(symptom: Symptom) -> tuple[str, ...]:
    """How many tensors of the first stream differ, and which is the first."""
    place = symptom.place
    if place.tensor is None:
        return ()
    return (
        f"{place.num_different} of {place.num_tensors} entries of {symptom.first.stream} differ, "
        f"the first by name is {place.tensor}",
    )


def optim_sentence(symptom: Symptom) -> str:
    """What the optimizer holds after the resume."""
    start = ledger_of(symptom.right).start
    count = start.counts.get("optim", 0)
    if count == 0:
        return "the optimizer holds no state at all after the resume"
    restored = symptom.comparison.restored
    wrong = [name for name in restored.different if name.startswith("optim")] if restored is not None else []
    return f"the optimizer holds {count} tensors after the resume; different are, among others, {', '.join(wrong[:3])}"


def restore_sentence(run: RunEvidence) -> str:
    """What the process read and loaded, as the recorder saw it."""
    loads = [event for event in run.events if event.kind == "load_state" and event.fields.get("ok")]
    paths = [event.fields.get("path") for event in run.events if event.kind == "restore" and event.fields.get("ok")]
    what = sorted({str(event.fields.get("what")) for event in loads})
    read = f"it read {str(paths[-1])[:200]}" if paths else "it read no checkpoint that the recorder saw"
    return f"{read}; load_state_dict was called for: {', '.join(what) or 'nothing'}"


def is_same(symptom: Symptom, stream: str, step: int) -> bool:
    """Whether a stream of a step is equal on both sides."""
    one, two = step_of(symptom.left, step), step_of(symptom.right, step)
    return one is not None and two is not None and one.streams.get(stream) == two.streams.get(stream)


def step_of(run: RunEvidence, step: int) -> StepRecord | None:
    """A step's record in one run."""
    ledger: Ledger = ledger_of(run)
    record = record_at(ledger, "step", step)
    return record if isinstance(record, StepRecord) else None


def loss_change(symptom: Symptom) -> tuple[float, float, float, str] | None:
    """The first losses that differ: both, their relative difference, and the factor if it is a power of two."""
    one, two = step_of(symptom.left, symptom.first.step), step_of(symptom.right, symptom.first.step)
    pairs = zip(one.loss, two.loss, strict=False) if one is not None and two is not None else ()
    for a, b in pairs:
        x, y = float.fromhex(a), float.fromhex(b)
        if a == b or not (math.isfinite(x) and math.isfinite(y)):
            continue
        change = abs(x - y) / max(abs(x), abs(y))
        factor = y / x if x else 0.0
        is_power = factor > 0 and math.isfinite(factor) and math.frexp(factor)[0] == 0.5 and factor != 1
        return x, y, change, f"{factor:g}" if is_power else ""
    return None


def floats(texts: tuple[str, ...]) -> str:
    """Hexadecimal floats, for people."""
    return ", ".join(f"{float.fromhex(text):.6g}" for text in texts[:4])


def names_of(names: Sequence[str]) -> str:
    """Names in a sentence."""
    if len(names) < 2:
        return names[0] if names else "nothing"
    return f"{', '.join(names[:-1])} and {names[-1]}"
