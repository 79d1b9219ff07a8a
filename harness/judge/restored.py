"""What a resume brought back: the live state just before the first batch, against what it had been at that step.

Restoring is judged twice. Against the straight run, for the verdict. Against the trajectory's own earlier run, for the
report: a run that had diverged before may have been restored faithfully all the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.documents.verdict import Compared, Restored
from harness.errors import EvidenceError
from harness.evidence.ledger import TensorEntry
from harness.evidence.trajectory import RunEvidence, TrajectoryEvidence
from harness.judge.locate import (
    Difference,
    differing_names,
    ledger_of,
    natural_key,
    place_before,
    record_at,
    size_of,
    state_tensors,
    streams_at,
)

_STREAMS = ("rng", "optim", "param", "buffer", "frozen")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stream:
    """One stream: both roots (None where not seen), what was looked at, and what is wrong (None: cannot be told)."""

    left: str | None
    right: str | None
    num_tensors: int
    wrong: tuple[str, ...] | None

    @property
    def is_equal(self) -> bool:
        return self.wrong == ()


def compare_restored(
    straight: RunEvidence, earlier: Sequence[RunEvidence], run: RunEvidence, *, is_within_step: bool = False
) -> tuple[Restored, list[Difference], list[str], Compared]:
    """Compare the start of a resumed run.

    Args:
        straight: the straight run.
        earlier: the runs before it in its own trajectory.
        run: the resumed run.
        is_within_step: whether it goes on between two micro-batches. Buffers have moved since the step before then,
            and nothing is recorded of them but after the step.

    Returns:
        the report, the differences from the straight run, what could not be compared, and how much was compared.
        The generators are compared with the state before the next step; as a difference they are reported there.
    """
    start, name, number = ledger_of(run).start, run.record.trajectory, run.record.number
    differences: list[Difference] = []
    problems: list[str] = []
    different: list[str] = []
    total = equal = size = 0
    for stream in _STREAMS:
        if stream == "buffer" and is_within_step:
            continue
        against = _compare(straight, run, stream)
        place = place_before(ledger_of(straight), start.step + 1, stream)
        is_recorded = place[0] == "before" or record_at(ledger_of(straight), *place) is not None
        if is_recorded and (against.left is None) != (against.right is None):
            problems.append(f"stream {stream} was not seen on both sides at the resume of {name}/{number}")
        elif against.left is not None and not against.is_equal and stream != "rng":
            differences.append(
                Difference(
                    trajectory=name,
                    run=number,
                    phase="restore",
                    step=start.step + 1,
                    stream=stream,
                    left=against.left,
                    right=str(against.right),
                )
            )
        own = _own(earlier, run, stream, against, is_moved=place[0] == "before")
        if own.left is None or own.right is None:
            continue
        total += own.num_tensors
        equal += own.num_tensors - (own.num_tensors if own.wrong is None else len(own.wrong))
        size += _num_bytes(run, stream)
        if not own.is_equal:
            different += [f"{stream}.{one}" for one in own.wrong] if own.wrong is not None else [f"{stream} (root)"]
    restored = Restored(
        run=number,
        after_step=start.step,
        num_tensors=total,
        num_equal=equal,
        different=tuple(different),
        file=None,
        num_in_file=None,
    )
    return restored, differences, problems, Compared(tensors=total, bytes=size)


def without_unread(
    differences: list[Difference], straight: TrajectoryEvidence, run: RunEvidence
) -> tuple[list[Difference], list[str]]:
    """Take out what a step makes anew before it reads it, a copy of the weights for instance; it is noted.

    That is optimizer state or a buffer of which no file holds any, where all that follows the resume is equal.
    """
    is_only_there = all(d.phase == "restore" and d.stream in ("optim", "buffer") for d in differences)
    contents = [file.content for file in straight.files]
    if not differences or not is_only_there or not ledger_of(run).steps or not contents:
        return differences, []
    saved = set()
    for content in contents:
        if content is None:
            return differences, []
        saved |= {_key(tensor.name) for tensor in content.tensors} | {_key(name) for name, _ in content.values}
    noted: list[str] = []
    for difference in differences:
        names = [name for name, _ in differing_names(difference, straight.runs[0], run) or ()]
        if not names or any(_key(name) in saved for name in names):
            return differences, []
        noted += [f"{difference.stream}.{name}" for name in names]
    more = f" and {len(noted) - 1} more" if len(noted) > 1 else ""
    return [], [f"{noted[0]}{more}: not restored in {run.name}, and no step read it: all that follows is equal"]


def _key(name: str) -> str:
    """The last part of a name: what a module or an optimizer itself calls a tensor."""
    return re.split(r"[./]", name)[-1]


def _own(earlier: Sequence[RunEvidence], run: RunEvidence, stream: str, against: _Stream, *, is_moved: bool) -> _Stream:
    """The same against the newest earlier run that has that state; `against` the straight run if none has.

    Where the state moved after the step, a run that was killed before it did does not have it.
    """
    step = ledger_of(run).start.step
    for one in reversed(earlier):
        if one.ledger is None or _root(one, stream, step) is None:
            continue
        if not is_moved or place_before(one.ledger, step + 1, stream)[0] == "before":
            return _compare(one, run, stream)
    return against


def _compare(left: RunEvidence, run: RunEvidence, stream: str) -> _Stream:
    start = ledger_of(run).start
    one, two = _root(left, stream, start.step), start.streams.get(stream)
    count = start.counts.get(stream, 0)
    if one is None or two is None or one == str(two):
        return _Stream(left=one, right=None if two is None else str(two), num_tensors=count, wrong=())
    wrong, num = _wrong(left, run, stream)
    return _Stream(left=one, right=str(two), num_tensors=num if wrong is not None else max(count, 1), wrong=wrong)


def _root(run: RunEvidence, stream: str, step: int) -> str | None:
    ledger = ledger_of(run)
    root = streams_at(ledger, *place_before(ledger, step + 1, stream)).get(stream)
    return None if root is None else str(root)


def _wrong(left: RunEvidence, run: RunEvidence, stream: str) -> tuple[tuple[str, ...] | None, int]:
    """Names that came back different, and how many tensors were looked at; None where the sidecars do not say.

    A module that is first called later has no name yet at the start. Its parameters and buffers are left out; optimizer
    state that has another name but the same content counts as the same.
    """
    step = ledger_of(run).start.step
    try:
        one = state_tensors(left, *place_before(ledger_of(left), step + 1, stream), stream)
        two = state_tensors(run, "start", step, stream)
    except EvidenceError:
        return None, 0
    if one is None or two is None:
        return None, 0
    both = one.keys() & two.keys()
    wrong = {name for name in both if one[name] != two[name]}
    only = {n: t for n, t in one.items() if n not in both}, {n: t for n, t in two.items() if n not in both}
    if stream in ("optim", "rng"):
        if Counter(only[0].values()) != Counter(only[1].values()):
            wrong |= only[0].keys() | only[1].keys()
        return tuple(sorted(wrong, key=natural_key)), len(one.keys() | two.keys())
    if not both and (one or two):
        return None, 0
    return tuple(sorted(wrong, key=natural_key)), len(both)


def _num_bytes(run: RunEvidence, stream: str) -> int:
    try:
        tensors: dict[str, TensorEntry] = state_tensors(run, "start", ledger_of(run).start.step, stream) or {}
    except EvidenceError:
        return 0
    return sum(size_of(entry) for entry in tensors.values())
