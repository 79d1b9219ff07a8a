"""Kill points for `interruptions: auto`: where resumes go wrong, found in what the straight run recorded.

Before the first checkpoint, inside a checkpoint's write, right after an epoch's end, and inside an accumulation
window: each kind once, where the training has it, and never all within the first epoch. Which step of several it is
follows from a seed, so that whoever verifies finds the same points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from harness.documents.digest import sha256
from harness.documents.experiment import Experiment, Interruption
from harness.documents.run import Fault
from harness.evidence.ledger import Ledger
from harness.evidence.trajectory import RunEvidence, TrajectoryEvidence

_BYTE = 1 << 19
"""Of a file that is torn; a shorter one is torn to half of it (pipelines/README.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KillPoints:
    """Where a training is killed, in order; `warning` says what no kill shows, in words, or is empty."""

    kills: tuple[Interruption, ...]
    warning: str = ""


def planned_kills(experiment: Experiment, straight: TrajectoryEvidence | None, seed: str) -> tuple[Fault, ...]:
    """The kills that an experiment lists, or those that follow from its straight run."""
    kills = chosen_kills(experiment, straight, seed).kills if experiment.chooses_kills else experiment.kills
    return tuple(kill.fault for kill in kills)


def chosen_kills(experiment: Experiment, straight: TrajectoryEvidence | None, seed: str) -> KillPoints:
    """Kill points for an experiment; a rerun that is the steps before the first kill gets more than a few of them."""
    found = choose_kills(straight, seed)
    if experiment.policy.rerun == "prefix" and len(found.kills) > 1:
        return replace(found, kills=found.kills[1:])
    return found


def choose_kills(straight: TrajectoryEvidence | None, seed: str) -> KillPoints:
    """Kill points for a training that goes as its straight run went.

    Args:
        straight: the straight run, with its ledger and events; without them there are no points.
        seed: any text; the same one gives the same points.
    """
    run = straight.runs[0] if straight is not None and straight.runs else None
    if straight is None or run is None or run.ledger is None or run.ledger.last_step < 2:
        return KillPoints(kills=(), warning="no kill: a training goes on after one where it has two steps at least")
    ledger, last = run.ledger, run.ledger.last_step
    saves, ends = _saves(straight, run), _epoch_ends(run, ledger)
    draw = _Draw(seed)
    first = saves[0] if saves else 0
    # Of what comes after a checkpoint, and past the first epoch where there is another one.
    late = max(first, ends[0] if ends else 0)
    steps = [number for number in range(first + 1, last) if number > late] or list(range(first + 1, last))
    found = []
    if first > 1:
        found.append(Interruption(kind="after_step", step=draw.one("before", range(1, first))))
    if torn := [step for step in saves[1:] if step >= late] or list(saves[1:] or saves):
        step = draw.one("write", torn)
        found.append(Interruption(kind="in_write", step=step, byte=_BYTE))
    if after := [end + 1 for end in ends if end > first and end + 1 < last]:
        found.append(Interruption(kind="before_step", step=draw.one("epoch", after), by="outside"))
    windows = {one.step: one.micro_batches for one in ledger.steps if one.micro_batches > 1}
    if inside := [step for step in steps if step in windows]:
        step = draw.one("window", inside)
        within = draw.one("micro-batch", range(1, windows[step]))
        found.append(Interruption(kind="micro_batch", step=step, micro_batch=within))
    elif steps:
        found.append(Interruption(kind="after_step", step=draw.one("step", steps)))
    kills = sorted(_of_different_steps(found) or [Interruption(kind="after_step", step=1)], key=lambda kill: kill.step)
    return KillPoints(kills=tuple(kills), warning=_warning(kills, ends))


def not_shown(straight: TrajectoryEvidence | None, kills: Sequence[Fault]) -> str:
    """What kills do not show, wherever they came from: a resume past the first epoch; "" for nothing."""
    run = straight.runs[0] if straight is not None and straight.runs else None
    if not kills or run is None or run.ledger is None or not run.ledger.steps:
        return ""
    return _warning(kills, _epoch_ends(run, run.ledger))


def drawn_points(straight: TrajectoryEvidence | None, seed: str, num: int) -> tuple[tuple[Fault, ...], int]:
    """Points of a sweep: drawn uniformly, none twice, from all micro-batches and all writes of checkpoints.

    A write counts once: whether the kill comes before it, in it or after it is drawn too. Writes after the last step
    are left out: no step follows them.

    Args:
        straight: the straight run; without a ledger there are no points.
        seed: any text; of the same one fewer points are the first of more.
        num: how many; all if there are fewer.

    Returns:
        the points in the order in which they were drawn, and how many there are in all.
    """
    run = straight.runs[0] if straight is not None and straight.runs else None
    if straight is None or run is None or run.ledger is None:
        return (), 0
    draw = _Draw(seed)
    points: list[Fault] = []
    for one in run.ledger.steps:
        within = range(1, one.micro_batches + 1)
        points += [Fault(kind="micro_batch", step=one.step, micro_batch=number) for number in within]
        points += [] if within else [Fault(kind="after_step", step=one.step)]
    for number, (step, write) in enumerate(_writes(straight, run), start=1):
        kind = ("before_write", "in_write", "after_write")[draw.one(f"write {number}", range(3))]
        points.append(Fault(kind=kind, step=step, write=write, byte=_BYTE if kind == "in_write" else None))
    order = sorted(range(len(points)), key=lambda place: sha256(f"{seed} point {place}".encode()).hex)
    return tuple(points[place] for place in order[:num]), len(points)


@dataclass(frozen=True, slots=True)
class _Draw:
    """Numbers that follow from a seed; the judge has no generator."""

    seed: str

    def one(self, name: str, values: Sequence[int]) -> int:
        """One of the values."""
        digits = sha256(f"{self.seed} {name}".encode()).hex
        return values[int(digits[:16], 16) % len(values)]


def _writes(straight: TrajectoryEvidence, run: RunEvidence) -> Iterator[tuple[int, int]]:
    """Each write of a checkpoint before the last step: after which step, and the how-manieth write after that step."""
    last, counts = run.ledger.last_step if run.ledger is not None else 0, Counter[int]()
    for event in run.events:
        step = event.fields.get("step")
        if event.kind == "save_begin" and type(step) is int:
            counts[step] += 1
            if 0 < step < last and (not straight.checkpoints or event.fields.get("path") in straight.checkpoints):
                yield step, counts[step]


def _saves(straight: TrajectoryEvidence, run: RunEvidence) -> tuple[int, ...]:
    """After which steps a checkpoint was written that a resume can start from: not at the very end."""
    return tuple(sorted({step for step, _ in _writes(straight, run)}))


def _epoch_ends(run: RunEvidence, ledger: Ledger) -> tuple[int, ...]:
    """The steps that seem to end an epoch: with a shorter window or a smaller batch than others, or evaluated after.

    A guess, for no file says what an epoch is.
    """
    sizes = {one.step: (one.micro_batches, _batch_size(run, one.step)) for one in ledger.steps}
    usual = Counter(sizes.values()).most_common(1)[0][0]
    smaller = {step for step, size in sizes.items() if size[0] < usual[0] or size[1] < usual[1]}
    found = smaller if 0 < len(smaller) <= len(sizes) // 2 else {one.step for one in ledger.evals}
    return tuple(sorted(found - {0, ledger.last_step}))


def _batch_size(run: RunEvidence, step: int) -> int:
    """Of all micro-batches of a step together; 0 where the sidecar has none of it."""
    tensors = None if run.sidecar is None else run.sidecar.tensors("step", step, "data")
    first: dict[str, int] = {}
    for name, entry in (tensors or {}).items():
        if entry.shape:
            first.setdefault(name.partition(".")[0], entry.shape[0])
    return sum(first.values())


def _of_different_steps(found: list[Interruption]) -> list[Interruption]:
    """At one step there is one kill, the first that was chosen: a resume that begins again at it comes to no other."""
    kept: dict[int, Interruption] = {}
    for kill in found:
        kept.setdefault(kill.step, kill)
    return list(kept.values())


def _warning(kills: Sequence[Interruption | Fault], ends: tuple[int, ...]) -> str:
    if not ends:
        return "no epoch's end was seen in the straight run: whether a resume goes on in a second epoch is not shown"
    if all(kill.step <= ends[0] for kill in kills):
        return f"every kill lies in the first epoch, which ends at step {ends[0]}: train longer, or list later kills"
    return ""
