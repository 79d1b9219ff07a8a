"""Places: where exactly a stream differs, as far as the sidecars show it, and which differences mean nothing.

A sidecar's entries are believed only where they hash to the root that the ledger holds.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from typing import Literal

from harness.errors import EvidenceError
from harness.evidence.ledger import STREAMS, At, Ledger, StateRecord, StepRecord, Streams, TensorEntry
from harness.evidence.tensor_file import ITEM_BYTES
from harness.evidence.trajectory import RunEvidence, TrajectoryEvidence

Phase = Literal["start", "restore", "before", "step", "eval", "end", "file"]
NOT_THERE = "not there"
_PHASES: tuple[Phase, ...] = ("start", "restore", "before", "step", "eval", "end", "file")
STREAM_ORDER = {name: place for place, name in enumerate((*STREAMS, "frozen", "eval", "output", "checkpoint"))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One stream that is not the same at one place.

    Attributes:
        run: number of the run of the other trajectory.
        phase: `start` and `restore` are the state before the first step of a run, `before` that before a later one, so
            `step` is the step that follows.
        left: the straight trajectory's root or text.
        right: the other's.
        rank: of the process in a distributed training.
    """

    trajectory: str
    run: int
    phase: Phase
    step: int
    stream: str
    left: str
    right: str
    rank: int = 0

    @property
    def order(self) -> tuple[int, int, int, int, int]:
        """Differences sort in the order of their causes."""
        stream = STREAM_ORDER.get(self.stream, len(STREAM_ORDER))
        return self.run, self.step, _PHASES.index(self.phase), stream, self.rank


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """The tensor at which a stream first differs, as far as the sidecars show it."""

    tensor: str | None
    micro_batch: int | None
    num_different: int
    num_tensors: int
    left: str
    right: str


def locate(difference: Difference, straight: RunEvidence, run: RunEvidence) -> Location:
    """The first tensor, by name, that differs; unknown where a sidecar is missing or does not match its ledger."""
    straight, run = straight.of_rank(difference.rank) or straight, run.of_rank(difference.rank) or run
    if difference.phase in ("step", "start", "end", "restore", "before"):
        try:
            left, right = both_sides(difference, straight, run)
        except EvidenceError:
            left = right = None
        if left is not None and right is not None and left != right:
            idle = untouched(straight) & untouched(run) if difference.stream == "rng" else frozenset()
            return _first_tensor(difference, left, right, idle)
    micro_batch = _loss_micro_batch(difference, straight, run)
    return Location(
        tensor=None,
        micro_batch=micro_batch,
        num_different=0,
        num_tensors=0,
        left=difference.left,
        right=difference.right,
    )


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts `layers.2` before `layers.10`."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]{1,9})", name) if part)


def state_tensors(run: RunEvidence, phase: At, step: int, stream: str) -> dict[str, TensorEntry] | None:
    """The tensors of a stream, believed only if they hash to the ledger's root; None if they were not written.

    Raises:
        EvidenceError: the sidecar does not match the ledger.
    """
    streams = streams_at(ledger_of(run), phase, step)
    if run.sidecar is None or stream not in streams:
        return None
    return run.sidecar.tensors(phase, step, stream, streams[stream])


def size_of(entry: TensorEntry) -> int:
    """The bytes of a tensor; 0 for a value that is none."""
    return ITEM_BYTES.get(entry.dtype, 0) * math.prod(entry.shape)


def ledger_of(run: RunEvidence) -> Ledger:
    """The run's ledger.

    Raises:
        EvidenceError: there is none.
    """
    if run.ledger is None:
        raise EvidenceError(f"{run.name} has no ledger", "run the experiment again")
    return run.ledger


def record_at(ledger: Ledger, phase: str, step: int) -> StateRecord | StepRecord | None:
    """The record of a step, or of the start or the end if that stands after this step; None if there is none."""
    if phase == "start":
        return ledger.start if ledger.start.step == step else None
    if phase == "end":
        return ledger.end if ledger.end is not None and ledger.end.step == step else None
    place = step - ledger.start.step - 1
    return ledger.steps[place] if 0 <= place < len(ledger.steps) else None


def streams_at(ledger: Ledger, phase: At, step: int) -> Streams:
    """The roots recorded at one place; `before` a step only those of what had moved since the step before it."""
    record = record_at(ledger, "step" if phase == "before" else phase, step)
    if record is None:
        return {}
    return record.before if phase == "before" and isinstance(record, StepRecord) else record.streams


def place_before(ledger: Ledger, step: int, stream: str) -> tuple[At, int]:
    """Where the state of a stream just before a step is recorded: what had not moved since is not written again."""
    if stream == "rng":
        return "step", step
    for number in range(step, ledger.start.step, -1) if stream == "frozen" else (step,):
        if stream in streams_at(ledger, "before", number):
            return "before", number
    start = ledger.start.step
    return ("start", start) if stream == "frozen" or step == start + 1 else ("step", step - 1)


def without_untouched(
    differences: list[Difference], straight: TrajectoryEvidence, run: RunEvidence
) -> tuple[list[Difference], list[str]]:
    """Take out generators that nothing draws from during the training and that no checkpoint holds; they are noted."""
    if not any(difference.stream == "rng" for difference in differences):
        return differences, []
    left = straight.runs[0]
    idle = untouched(left) & untouched(run)
    saved = {str(t.digest) for f in straight.files if f.content is not None for t in f.content.tensors}
    kept, noted = [], set()
    for difference in differences:
        names = differing_names(difference, left, run) if difference.stream == "rng" and idle else None
        if names and all(name in idle and digest not in saved for name, digest in names):
            noted |= {name for name, _ in names}
        else:
            kept.append(difference)
    notes = [
        f"generator {name} had another state in {run.name} than in the straight run; nothing drew from it"
        for name in sorted(noted)
    ]
    return kept, notes


def differing_names(difference: Difference, left: RunEvidence, run: RunEvidence) -> list[tuple[str, str]] | None:
    """What differs, by name, with its digest on the left; None where the sidecars do not say."""
    try:
        one, two = both_sides(difference, left, run)
    except EvidenceError:
        return None
    if one is None or two is None:
        return None
    absent = TensorEntry("", (), "")
    return [
        (name, one.get(name, absent).digest)
        for name in sorted(one.keys() | two.keys())
        if one.get(name) != two.get(name)
    ]


def untouched(run: RunEvidence) -> frozenset[str]:
    """Generators whose state is the same in every record of the run, or moved by draws alone that nothing used."""
    seen: list[dict[str, TensorEntry]] = []
    ledger = ledger_of(run)
    places: list[tuple[Literal["start", "step", "end"], int]] = [("start", ledger.start.step)]
    places += [("step", record.step) for record in ledger.steps]
    places += [("end", ledger.end.step)] if ledger.end is not None else []
    for phase, step in places:
        try:
            tensors = state_tensors(run, phase, step, "rng")
        except EvidenceError:
            return frozenset()
        if tensors is None:
            return frozenset()
        seen.append(tensors)
    names = {name for tensors in seen for name in tensors}
    return frozenset(name for name in names if _is_idle([tensors.get(name) for tensors in seen], _unused(run, name)))


def _unused(run: RunEvidence, generator: str) -> dict[object, object]:
    """From which state to which a generator was moved by a draw that nothing used: a loader's seed for no workers."""
    fields = [event.fields for event in run.events if event.kind == "unused_seed"]
    return {one.get("before"): one.get("after") for one in fields if one.get("generator") == generator}


def _is_idle(states: list[TensorEntry | None], unused: dict[object, object]) -> bool:
    for one, two in itertools.pairwise(dict.fromkeys(states)):
        if one is None or two is None:
            return False
        at: object = one.digest
        for _ in range(len(unused)):
            at = unused.get(at)
            if at == two.digest:
                break
        else:
            return False
    return True


def both_sides(
    difference: Difference, left: RunEvidence, right: RunEvidence
) -> tuple[dict[str, TensorEntry] | None, dict[str, TensorEntry] | None]:
    """The tensors of a difference's stream on both sides; None where they were not written.

    Raises:
        EvidenceError: a sidecar does not match its ledger.
    """
    step, stream = difference.step, difference.stream
    if difference.phase == "step":
        return state_tensors(left, "step", step, stream), state_tensors(right, "step", step, stream)
    if difference.phase == "end":
        return state_tensors(left, "end", step, stream), state_tensors(right, "end", step, stream)
    if difference.phase == "start":
        return state_tensors(left, "start", step - 1, stream), state_tensors(right, "start", step - 1, stream)
    one = state_tensors(left, *place_before(ledger_of(left), step, stream), stream)
    if difference.phase == "before":
        return one, state_tensors(right, *place_before(ledger_of(right), step, stream), stream)
    return one, state_tensors(right, "start", step - 1, stream)


def _first_tensor(
    difference: Difference, left: dict[str, TensorEntry], right: dict[str, TensorEntry], idle: frozenset[str]
) -> Location:
    """The first name that differs; a generator that nothing draws from comes last."""
    wrong = (name for name in left.keys() | right.keys() if left.get(name) != right.get(name))
    names = sorted(wrong, key=lambda name: (name in idle, natural_key(name)))
    total = len(left.keys() | right.keys())
    one, two = left.get(names[0]), right.get(names[0])
    return Location(
        tensor=names[0],
        micro_batch=_micro_batch(difference.stream, names[0]),
        num_different=len(names),
        num_tensors=total,
        left=one.digest if one is not None else NOT_THERE,
        right=two.digest if two is not None else NOT_THERE,
    )


def _micro_batch(stream: str, name: str) -> int | None:
    """The micro-batch in a name: `<micro-batch>.<input>` in `data`, `<number>.<micro-batch>` in `loss`."""
    pattern = {"data": r"([0-9]{1,6})\.", "loss": r"[0-9]{1,6}\.([0-9]{1,6})$"}.get(stream)
    found = re.match(pattern, name) if pattern else None
    return int(found[1]) if found else None


def _loss_micro_batch(difference: Difference, left: RunEvidence, right: RunEvidence) -> int | None:
    if difference.phase != "step" or difference.stream != "loss":
        return None
    one, two = record_at(ledger_of(left), "step", difference.step), record_at(ledger_of(right), "step", difference.step)
    if not isinstance(one, StepRecord) or not isinstance(two, StepRecord):
        return None
    pairs = zip(one.loss, two.loss, strict=False)
    return next((place for place, (a, b) in enumerate(pairs, start=1) if a != b), None)
