"""What differs, by name: the first tensors of the first stream, and how much of each module in each step."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from harness.documents.divergence import LayerMap, LayerRow, Share, TensorDifference
from harness.errors import EvidenceError
from harness.evidence.ledger import TensorEntry
from harness.evidence.trajectory import TrajectoryEvidence
from harness.judge.diff import WHOLE, FileComparison
from harness.judge.locate import NOT_THERE, Difference, both_sides, natural_key, untouched
from harness.judge.symptom import Symptom, is_same, step_of, tensors_of_step

MAX_TENSORS = 10
MAX_STEPS = 24
MAX_ROWS = 40
_FEW_ROWS = 8
_ABSENT = TensorEntry("", (), NOT_THERE)
_STREAMS = ("grad", "optim", "param", "buffer")
_MAX_CHARS = 120

Tensors = Mapping[str, TensorEntry]


def tensors_that_differ(symptom: Symptom) -> tuple[tuple[TensorDifference, ...], Share]:
    """The first tensors, or numbers, that differ in the first stream, and how many do of how many."""
    if symptom.first.phase == "file":
        return _of_file(symptom)
    left, right = _sides(symptom, symptom.first)
    idle = untouched(symptom.left) & untouched(symptom.right) if symptom.first.stream == "rng" else frozenset()
    wrong = [name for name in left.keys() | right.keys() if left.get(name) != right.get(name)]
    wrong.sort(key=lambda name: (name in idle, natural_key(name)))
    numbers = _numbers(symptom, left)
    found = []
    for name in wrong[:MAX_TENSORS]:
        one, two = left.get(name, _ABSENT), right.get(name, _ABSENT)
        entry = two if one is _ABSENT else one
        difference = _difference(name, entry.dtype, entry.shape, one.digest, two.digest)
        found.append(difference.model_copy(update=numbers.get(name, {})))
    return tuple(found), Share(num=len(wrong), of=len(left.keys() | right.keys()))


def _sides(symptom: Symptom, difference: Difference) -> tuple[Tensors, Tensors]:
    if difference.phase == "eval":  # of evaluations there are no tensors
        return {}, {}
    try:
        left, right = both_sides(difference, symptom.left, symptom.right)
    except EvidenceError:
        return {}, {}
    return (left, right) if left is not None and right is not None else ({}, {})


def _difference(name: str, dtype: str, shape: Sequence[int], straight: str, other: str) -> TensorDifference:
    return TensorDifference(
        name=name, dtype=dtype, shape=tuple(shape), straight=straight[:_MAX_CHARS], other=other[:_MAX_CHARS]
    )


def _numbers(symptom: Symptom, names: Mapping[str, TensorEntry]) -> dict[str, dict[str, object]]:
    """Losses and learning rates on both sides, and their distance: of these a ledger holds more than digests."""
    stream, step = symptom.first.stream, symptom.first.step
    one, two = step_of(symptom.left, step), step_of(symptom.right, step)
    if symptom.first.phase != "step" or stream not in ("loss", "lr") or one is None or two is None:
        return {}
    named = sorted((n for n in names if stream == "loss" or n.endswith(".lr")), key=natural_key)
    values = (one.loss, two.loss) if stream == "loss" else (one.lr, two.lr)
    if not len(named) == len(values[0]) == len(values[1]):
        return {}
    return {name: _apart(float.fromhex(a), float.fromhex(b)) for name, a, b in zip(named, *values, strict=True)}


def _apart(one: float, two: float) -> dict[str, object]:
    distance = abs(one - two)
    return {
        "straight": f"{one:.9g}",
        "other": f"{two:.9g}",
        "apart": distance if math.isfinite(distance) else None,
    }


def _of_file(symptom: Symptom) -> tuple[tuple[TensorDifference, ...], Share]:
    """The entries of the first file that differs."""
    role = symptom.first.stream
    file = next((file for file in symptom.files if file.is_equal is False and file.role == role), None)
    if file is None:
        return (), Share(num=0, of=0)
    left, right = _entries(symptom.straight, file), _entries(symptom.other, file)
    absent = ("", (), NOT_THERE)
    found = []
    for name in file.different[:MAX_TENSORS] if left and right else ():
        one, two = (side.get("" if name == WHOLE else name, absent) for side in (left, right))
        dtype, shape, _ = two if one is absent else one
        found.append(_difference(f"{file.path}: {name}", dtype, shape, one[2], two[2]))
    return tuple(found), Share(num=len(file.different), of=len(left.keys() | right.keys()))


def _entries(trajectory: TrajectoryEvidence, file: FileComparison) -> dict[str, tuple[str, tuple[int, ...], str]]:
    there = trajectory.file(file.path)
    if there is None or there.content is None:
        return {}
    values = {name: ("value", (), text) for name, text in (*there.content.values, *there.content.opaque)}
    return values | {t.name: (t.dtype, t.shape, str(t.digest)) for t in there.content.tensors}


def layers_that_differ(symptom: Symptom) -> LayerMap | None:
    """Of each module's gradients, moments, weights and buffers, how many differ in the first steps that differ."""
    totals: Counter[str] = Counter()
    for stream in _STREAMS:
        left, right = (tensors_of_step(symptom, run, stream) for run in (symptom.left, symptom.right))
        totals.update(_module(stream, name) for name in left.keys() | right.keys())
    counts = {step: Counter(modules) for step, modules in _different(symptom)}
    if not totals or not any(found.total() for found in counts.values()):
        return None
    groups = _groups(sorted(totals | sum(counts.values(), Counter()), key=natural_key))
    rows = tuple(
        LayerRow(
            module=title,
            num_tensors=sum(totals[name] for name in names),
            different=tuple(sum(found[name] for name in names) for found in counts.values()),
        )
        for title, names in groups
    )
    return LayerMap(steps=tuple(counts), rows=rows)


def _different(symptom: Symptom) -> Iterator[tuple[int, list[str]]]:
    """Of each step the modules of the tensors that differ, one by one; first of all what a process began with."""
    first = symptom.first
    if first.phase in ("start", "restore"):
        begun = [d for d in symptom.comparison.differences if d.phase == first.phase and d.stream in _STREAMS]
        yield first.step - 1, [name for d in begun for name in _wrong(d.stream, *_sides(symptom, d))]
    for step in range(first.step, first.step + MAX_STEPS):
        if step_of(symptom.left, step) is None or step_of(symptom.right, step) is None:
            return
        modules = []
        for stream in _STREAMS:
            if not is_same(symptom, stream, step):
                sides = (tensors_of_step(symptom, run, stream, step) for run in (symptom.left, symptom.right))
                modules += _wrong(stream, *sides)
        yield step, modules


def _wrong(stream: str, left: Tensors, right: Tensors) -> list[str]:
    return [_module(stream, name) for name in left.keys() | right.keys() if left.get(name) != right.get(name)]


def _module(stream: str, name: str) -> str:
    """The module that a tensor is of: moments have a key of the optimizer behind the parameter's name."""
    parts = name.split(".")
    return ".".join(parts[: -2 if stream == "optim" else -1]) or "the model itself"


def _groups(modules: list[str]) -> list[tuple[str, list[str]]]:
    """Modules by name, in at most `MAX_ROWS` rows: those of a layer together, else neighbours."""
    deepest = max(name.count(".") for name in modules) + 1
    levels = []
    for depth in range(deepest, 0, -1):
        level: dict[str, list[str]] = {}
        for name in modules:
            level.setdefault(".".join(name.split(".")[:depth]), []).append(name)
        levels.append(list(level.items()))
    fitting = next((level for level in levels if len(level) <= MAX_ROWS), [])
    if len(fitting) >= min(_FEW_ROWS, len(modules)):
        return fitting
    finer = next(level for level in reversed(levels) if len(level) > len(fitting))
    size = math.ceil(len(finer) / MAX_ROWS)
    parts = [finer[place : place + size] for place in range(0, len(finer), size)]
    return [
        (
            part[0][0] if len(part) == 1 else f"{part[0][0]} to {part[-1][0]}",
            [name for _, names in part for name in names],
        )
        for part in parts
    ]
