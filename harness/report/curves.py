"""Curves: what one run reported at each step, for plots only; no oracle looks at them.

Rows come from a run's `progress.jsonl` and, for validation losses, from the `eval` records of its `ledger.jsonl`.
Both were written by the training process, so nothing in them is trusted.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.fields import integer, number

MAX_STEPS = 1_000_000
_LARGEST_STEP = 2**53


@dataclass(frozen=True, slots=True)
class Curve:
    """One run's reported values; all tuples but the last three are as long as `steps`.

    Attributes:
        trajectory: `straight`, `rerun`, `resumed` or a control's name.
        run: 1, 2, ... within the trajectory.
        steps: optimizer steps, numbered over the whole training, ascending.
        losses: training loss per step; NaN where it was not finite or not reported.
        learning_rates: the rate applied; NaN where it was not reported.
        seconds: wall time since the previous step, the recorder's share included; NaN where not reported.
        rss_bytes: resident memory of the process; None where not reported.
        vram_bytes: memory on the GPU; None without one.
        eval_steps: the steps after which a validation ran.
        eval_losses: the mean of that validation's losses; as long as `eval_steps`.
        recorder_seconds: the recorder's share of `seconds`; NaN where not reported, empty where nobody asked.
    """

    trajectory: str
    run: int
    steps: tuple[int, ...]
    losses: tuple[float, ...]
    learning_rates: tuple[float, ...]
    seconds: tuple[float, ...]
    rss_bytes: tuple[int | None, ...]
    vram_bytes: tuple[int | None, ...]
    eval_steps: tuple[int, ...] = ()
    eval_losses: tuple[float, ...] = ()
    recorder_seconds: tuple[float, ...] = ()


def curve_from_rows(
    trajectory: str, run: int, progress: Iterable[Mapping[str, Any]], ledger: Iterable[Mapping[str, Any]] = ()
) -> Curve:
    """The curve of a run from the rows of its progress and, for validation losses, of its ledger.

    Rows without a usable step are left out; of rows of the same step the last one counts.
    """
    by_step: dict[int, Mapping[str, Any]] = {}
    for row in progress:
        step = _step(row)
        if step is not None and (step in by_step or len(by_step) < MAX_STEPS):
            by_step[step] = row
    steps = tuple(sorted(by_step))
    validations = _validations(ledger)
    return Curve(
        trajectory=trajectory,
        run=run,
        steps=steps,
        losses=tuple(_value(by_step[step].get("loss")) for step in steps),
        learning_rates=tuple(_value(by_step[step].get("lr")) for step in steps),
        seconds=tuple(_value(by_step[step].get("seconds")) for step in steps),
        rss_bytes=tuple(integer(by_step[step].get("rss_bytes")) for step in steps),
        vram_bytes=tuple(integer(by_step[step].get("vram_bytes")) for step in steps),
        eval_steps=tuple(sorted(validations)),
        eval_losses=tuple(validations[step] for step in sorted(validations)),
        recorder_seconds=tuple(_value(by_step[step].get("recorder_seconds")) for step in steps),
    )


def curve_from_bytes(trajectory: str, run: int, progress: bytes, ledger: bytes = b"") -> Curve:
    """`curve_from_rows` for the files' contents; lines that are not JSON tables (a torn last one) are left out."""
    return curve_from_rows(trajectory, run, _json_lines(progress), _json_lines(ledger, only=b'"eval"'))


def _json_lines(content: bytes, only: bytes = b"") -> Iterable[Mapping[str, Any]]:
    for raw in content.splitlines():
        if only not in raw:
            continue
        try:
            row = json.loads(raw)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            yield row


def _step(row: Mapping[str, Any]) -> int | None:
    step = integer(row.get("step"))
    return step if step is not None and 0 <= step <= _LARGEST_STEP else None


def _value(value: object) -> float:
    """A number, or what the ledger writes (`0x1.8p+1`), or NaN."""
    if isinstance(value, str):
        try:
            value = float.fromhex(value)
        except (ValueError, OverflowError):
            return math.nan
    found = number(value)
    return math.nan if found is None else found


def _validations(ledger: Iterable[Mapping[str, Any]]) -> dict[int, float]:
    """Step -> mean validation loss, from the records of kind `eval`."""
    found: dict[int, float] = {}
    for row in ledger:
        step, losses = _step(row), row.get("loss")
        if row.get("kind") == "eval" and step is not None and isinstance(losses, list) and losses:
            found[step] = math.fsum(_value(loss) for loss in losses) / len(losses)
    return found


def thinned(steps: Sequence[int], values: Sequence[float], width: int) -> tuple[list[int], list[float]]:
    """Of every `width` steps the lowest and the highest value, so that no spike is lost; all of them for width 1.

    Buckets lie at multiples of `width`, so equal curves stay equal wherever a run began. NaN is kept where a whole
    bucket is NaN, so gaps stay gaps.
    """
    if width <= 1 or len(steps) <= 2:
        return list(steps), list(values)
    kept: set[int] = {0, len(steps) - 1}
    for _, members in itertools.groupby(range(len(steps)), key=lambda place: steps[place] // width):
        bucket = list(members)
        present = [place for place in bucket if not math.isnan(values[place])]
        if not present:
            kept.add(bucket[0])
            continue
        kept.add(min(present, key=lambda place: values[place]))
        kept.add(max(present, key=lambda place: values[place]))
    places = sorted(kept)
    return [steps[place] for place in places], [values[place] for place in places]


def thinning_width(all_steps: Iterable[Sequence[int]], limit: int) -> int:
    """The smallest power of two for which `thinned` leaves about `limit` points of all these curves together."""
    curves = [steps for steps in all_steps if steps]
    width = 1
    while sum(min(len(steps), 2 * ((steps[-1] - steps[0]) // width + 1)) for steps in curves) > limit:
        if all(steps[-1] - steps[0] < width for steps in curves):
            break
        width *= 2
    return width
