"""Curves: what one run reported at each step, for plots only; no check looks at them.

They come from a run's `progress.jsonl`, and validation losses from the `eval` records of its `ledger.jsonl`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.evidence.ledger import Ledger, Progress
from harness.evidence.trajectory import TrajectoryEvidence

MAX_STEPS = 1_000_000


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


def curve_of(trajectory: str, number: int, ledger: Ledger | None, progress: Iterable[Progress]) -> Curve:
    """What one run reported; of a run whose progress was not kept, losses and learning rates are the ledger's.

    Of rows of the same step the last one counts.
    """
    rows = {row.step: row for row in progress} or _ledger_rows(ledger)
    kept = [rows[step] for step in sorted(rows)[:MAX_STEPS]]
    evals = {one.step: _sum(one.loss) / len(one.loss) for one in (ledger.evals if ledger else ()) if one.loss}
    return Curve(
        trajectory=trajectory,
        run=number,
        steps=tuple(row.step for row in kept),
        losses=tuple(_known(row.loss) for row in kept),
        learning_rates=tuple(_known(row.lr) for row in kept),
        seconds=tuple(_known(row.seconds) for row in kept),
        rss_bytes=tuple(row.rss_bytes for row in kept),
        vram_bytes=tuple(row.vram_bytes for row in kept),
        eval_steps=tuple(sorted(evals)),
        eval_losses=tuple(evals[step] for step in sorted(evals)),
        recorder_seconds=tuple(_known(row.recorder_seconds) for row in kept),
    )


def curves_of(trajectories: Iterable[TrajectoryEvidence]) -> tuple[Curve, ...]:
    """What each run reported at each step, for plots."""
    return tuple(
        curve_of(trajectory.name, run.record.number, run.ledger, run.progress)
        for trajectory in trajectories
        for run in trajectory.runs
    )


def _ledger_rows(ledger: Ledger | None) -> dict[int, Progress]:
    """Step, loss and learning rate as a ledger has them; the recorder's progress adds up micro-batches as well."""
    unknown = {"seconds": None, "rss_bytes": None, "vram_bytes": None, "recorder_seconds": None}
    return {
        one.step: Progress(step=one.step, loss=_sum(one.loss), lr=_sum(one.lr[:1]), **unknown)
        for one in (ledger.steps if ledger else ())
    }


def _sum(numbers: Sequence[str]) -> float:
    """The sum of hexadecimal floats; NaN where one is not finite, or there is none."""
    try:
        return _known(math.fsum(float.fromhex(number) for number in numbers) if numbers else None)
    except (ValueError, OverflowError):
        return math.nan


def _known(value: float | None) -> float:
    return math.nan if value is None or not math.isfinite(value) else value


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
