"""From several executions of one step to the first operator that differs, or to what goes into it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.documents.diagnosis import Operator, OperatorRow
from harness.judge.deterministic import UNINITIALISED, Advice, advice_for

Execution = tuple[Operator, ...]
Found = Literal["operator", "input", "sequence", "nothing"]
_NEARBY = 2
_MAX_STATES = 20
_Z = 1.959964  # of the normal distribution, for 95 %
_WORDS = {
    "param": "the parameter",
    "frozen": "the frozen weight",
    "buffer": "the buffer",
    "optim": "the optimizer's state",
    "grad": "the gradient left from before",
    "data": "the batch,",
    "rng": "the generator",
    "attribute": "the module's attribute",
}
_FIXES = {
    "data": "Look at what makes the batch: its place in the data, its order (sets, listings, threads), its draws.",
    "rng": "Save this generator's state in the checkpoint, and set it last, when all else is built and loaded.",
    "grad": "Call optimizer.zero_grad() before the first backward of a step, and save no checkpoint inside a window.",
}
_RESTORE = "Save it in the checkpoint and restore it before the first step; compare it right after the load."
_SEED = "Make it from a seed of the configuration in every process."
_SEEDED = {"data": _FIXES["data"]}
_OTHERWISE = (
    "It repeats itself, and the resumed process computes it otherwise: set switches (mkldnn, TF32, cudnn.benchmark, "
    "autocast, deterministic algorithms), threads and memory layout from the configuration in every process."
)
_OUTSIDE = (
    "It was computed before the first forward, in another thread, or outside of torch: take results in a fixed order, "
    "seed what is drawn, and save what is state."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The first difference between executions of one step.

    Attributes:
        differ: how many executions are not like the straight one, or, where all are reruns, like most.
        num_left_out: how many reruns had differed before the first operator that was noted.
    """

    found: Found
    sentence: str
    advice: Advice
    executions: int
    differ: int
    operator: OperatorRow | None = None
    nearby: tuple[OperatorRow, ...] = ()
    states: tuple[str, ...] = ()
    num_left_out: int = 0

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.differ, self.executions)


def compare(straight: Execution, others: Sequence[Execution], *, is_resume: bool) -> Finding:
    """Align executions by place and name, and say where they first differ.

    Args:
        straight: of the straight run.
        others: of resumed or further runs.
        is_resume: whether the others are resumed: then each is held against the straight one.
    """
    every = (straight, *others)
    place = _first_place(every)
    if place is None:
        return _nothing(every)
    at = [one[place] if place < len(one) else None for one in every]
    usual = _bits(at[0]) if is_resume else Counter(map(_bits, at)).most_common(1)[0][0]
    base = next(one for one in at if _bits(one) == usual)
    odd = next(one for one in at if _bits(one) != usual)
    compared = at[1:] if is_resume else at
    differ = sum(_bits(one) != usual for one in compared)
    told = _Told(
        base=base,
        odd=odd,
        before=straight[:place],
        states=_states(every, place),
        is_resume=is_resume,
        is_steady=is_resume and len(others) > 1 and len(set(map(_bits, at[1:]))) == 1,
    )
    step = next(one.step for one in at if one is not None)
    found, sentence, advice = told.answer(f"at step {step}, in {differ} of {len(compared)} executions")
    if not is_resume and found == "input" and told.states and straight[0].step > 1 and 2 * differ < len(every):
        # They had differed before the first operator that was noted, as what is rare does.
        alike, *more = (one for one, operator in zip(every, at, strict=True) if _bits(operator) == usual)
        return dataclasses.replace(compare(alike, more, is_resume=False), num_left_out=differ)
    return Finding(
        found=found,
        sentence=sentence,
        advice=advice,
        executions=len(compared),
        differ=differ,
        operator=_row(every, place),
        nearby=tuple(row for near in range(place - _NEARBY, place + _NEARBY + 1) if (row := _row(every, near))),
        states=told.named if found == "input" else (),
    )


def _nothing(every: Sequence[Execution]) -> Finding:
    sentence = f"All {len(every)} executions gave the same bits, in each of {len(every[0]):,} operators."
    fix = "What differs is rarer than that, or lies outside of these steps: repeat with a larger --times."
    return Finding(
        found="nothing",
        sentence=sentence,
        advice=Advice(fix),
        executions=len(every),
        differ=0,
    )


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The Wilson 95 % interval of a share.

    Source: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927), 209-212.
    """
    share, square = hits / of, _Z * _Z
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = _Z / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def _first_place(every: Sequence[Execution]) -> int | None:
    rows = enumerate(itertools.zip_longest(*every))
    return next((place for place, row in rows if len(set(map(_bits, row))) > 1), None)


def _bits(one: Operator | None) -> tuple[object, ...] | None:
    return None if one is None else (one.name, *_inputs(one), one.outputs)


def _inputs(one: Operator) -> tuple[object, ...]:
    return one.arguments, *(tensor[:3] for tensor in one.inputs)


def _row(every: Sequence[Execution], place: int) -> OperatorRow | None:
    if not 0 <= place < min(map(len, every)):
        return None
    row = [one[place] for one in every]
    one = row[0]
    first = next(number for number, other in enumerate(every[0]) if other.step == one.step)
    return OperatorRow(
        step=one.step,
        place=place - first + 1,
        name=one.name,
        phase=one.phase,
        module=one.module,
        line=one.line,
        inputs=len(set(map(_inputs, row))) == 1,
        outputs=len({other.outputs for other in row}) == 1,
    )


def _states(every: Sequence[Execution], place: int) -> tuple[str, ...]:
    """What no operator made, and differs when it is first read in the step of the first difference."""
    found: dict[str, bool] = {}
    for row in zip(*(one[place:] for one in every), strict=False):
        if len({(one.name, len(one.inputs)) for one in row}) > 1:
            break
        for tensors in zip(*(one.inputs for one in row), strict=True):
            source = tensors[0].source
            if source is not None and source[0] in _WORDS:
                found.setdefault(f"{source[0]} {source[1]}", len({tensor[:3] for tensor in tensors}) > 1)
    return tuple(itertools.islice((name for name, is_other in found.items() if is_other), _MAX_STATES))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """The two operators at the first place that differs, and what is known around them.

    `is_steady`: whether all resumed executions agree, so that they compute otherwise and do not merely vary.
    """

    base: Operator | None
    odd: Operator | None
    before: Execution
    states: tuple[str, ...]
    is_resume: bool
    is_steady: bool

    @property
    def named(self) -> tuple[str, ...]:
        """What goes in and differs, as `<stream> <name>`; memory by the operator that made it."""
        for tensor in self.base.inputs if self.base is not None else ():
            if tensor.source is not None and tensor.source[0] == "empty" and not self.states:
                return (f"memory {self.before[int(tensor.source[1])].name}",)
        return self.states

    def answer(self, share: str) -> tuple[Found, str, Advice]:
        """What was found, in a sentence, with what to do."""
        base, odd = self.base, self.odd
        if base is None or odd is None or base.name != odd.name or _reads_otherwise(base, odd):
            return "sequence", *self._sequence(share)
        if _inputs(base) == _inputs(odd):
            sentence = f"`{base.name}`{where(base)} gives other bits from equal inputs, {share}"
            if self.is_steady:
                return "operator", f"{sentence}, and each time the same.", Advice(_OTHERWISE)
            return "operator", f"{sentence}.", advice_for(base)
        what, advice = self._input(base, odd)
        return "input", f"The first operator that differs, `{base.name}`{where(base)}, reads {what}, {share}.", advice

    def _sequence(self, share: str) -> tuple[str, Advice]:
        other = "the resumed step" if self.is_resume else "another execution"
        one, two = (f"`{op.name}`{where(op)}" if op is not None else "nothing more" for op in (self.base, self.odd))
        inputs = self.base.inputs if self.base is not None else ()
        state = next((f"{_WORDS['optim']} {t.source[1]}" for t in inputs if t.source and t.source[0] == "optim"), "")
        reads = f", which reads {state}" if state else ""
        fix = "Look at what decides which operators run: training or evaluation mode, a branch on the step or on time, "
        fix += "the number of micro-batches, how the model is built."
        if self.base is not None and self.odd is not None and self.base.name == self.odd.name:
            two = "it on what other operators made: from here on other operators run"
        sentence = f"Where the straight step runs {one}{reads}, {other} runs {two}, {share}."
        return sentence, Advice(_RESTORE if state and self.is_resume else fix)

    def _input(self, base: Operator, odd: Operator) -> tuple[str, Advice]:
        pairs = zip(base.inputs, odd.inputs, strict=False)
        differing = [one for one, two in pairs if one[:3] != two[:3]]
        if not differing:
            one, two = next(_different(base.arguments, odd.arguments))
            fix = "Look at where that number comes from: a schedule, a rate, a draw, a count that came back different."
            return f"another number: {two} instead of {one}", Advice(fix)
        tensor = next((tensor for tensor in differing if tensor.source), differing[0])
        match tensor.source:
            case ("empty", int(place)):
                maker = self.before[place] if place < len(self.before) else base
                return f"memory that `{maker.name}`{where(maker)} leaves unfilled and nothing filled", UNINITIALISED
            case ("op", int(place)) if place < len(self.before):
                maker = self.before[place]
                what = f"what `{maker.name}`{where(maker)} made and something else than an operator changed"
                return what, Advice(_OUTSIDE)
            case (str(kind), name) if kind in _WORDS:
                more = (
                    f" and {len(self.states) - 1} more, with other bits" if len(self.states) > 1 else " with other bits"
                )
                is_drawn = kind == "data" and any(state.startswith("rng ") for state in self.states)
                fix = _FIXES.get("rng" if is_drawn else kind, _RESTORE) if self.is_resume else _SEEDED.get(kind, _SEED)
                shown = "input {2} of micro-batch {0}".format(*str(name).partition(".")) if kind == "data" else name
                return f"{_WORDS[kind]} {shown}{more}", Advice(fix)
        return f"a tensor of shape {list(tensor.shape)} that no operator of its thread made", Advice(_OUTSIDE)


def _reads_otherwise(one: Operator, two: Operator) -> bool:
    """Whether two operators of one name are not the same one: they read what different operators made."""
    pairs = [(a.source, b.source) for a, b in zip(one.inputs, two.inputs, strict=False) if a.source and b.source]
    return len(one.inputs) != len(two.inputs) or any(a != b and a[0] == b[0] == "op" for a, b in pairs)


def where(one: Operator | OperatorRow) -> str:
    """` in layers.3 (backward of model.py:41)`, as far as it is known."""
    module = f" in {one.module}" if one.module else ""
    phase = one.phase if not one.line else f"{one.phase} of {one.line}" if one.phase == "backward" else one.line
    return f"{module} ({phase})"


def _different(one: str, two: str) -> Iterator[tuple[str, str]]:
    pairs = zip(one.split(", "), two.split(", "), strict=False)
    yield from ((a, b) for a, b in pairs if a != b)
    yield one, two
