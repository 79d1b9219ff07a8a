from __future__ import annotations

import math

import pytest

from harness.documents.digest import sha256
from harness.evidence.ledger import EvalRecord, Ledger, Progress, StateRecord
from harness.report.curves import curve_of, thinned, thinning_width
from tests.made import report_data as data


def row(step: int, loss: float | None) -> Progress:
    unknown = {"lr": None, "seconds": None, "rss_bytes": None, "vram_bytes": None, "recorder_seconds": None}
    return Progress(step=step, loss=loss, **unknown)


def test_a_curve_has_a_value_per_step() -> None:
    curve = data.curve("straight", 1, data.progress(1, 24))
    assert curve.steps == tuple(range(1, 25))
    assert curve.losses == tuple(data.loss_at(step) for step in range(1, 25))
    assert curve.rss_bytes[0] == 910_000_000
    assert curve.vram_bytes == (None,) * 24


def test_what_is_not_finite_or_was_not_reported_is_nan() -> None:
    curve = data.curve_of_losses("straight", [None, math.inf, -math.inf, math.nan, 2.0])
    assert [math.isnan(loss) for loss in curve.losses] == [True] * 4 + [False]
    assert all(math.isnan(rate) for rate in curve.learning_rates)


def test_steps_come_in_order_and_the_last_row_of_a_step_counts() -> None:
    curve = data.curve("resumed", 2, [row(2, 1.0), row(1, 5.0), row(2, 3.0)])
    assert (curve.steps, curve.losses) == ((1, 2), (5.0, 3.0))


@pytest.mark.parametrize(
    ("losses", "mean"), [(("0x1p+1", "0x1p+2"), 3.0), (("inf", "-inf"), None), (("0x1p99999",), None), (("x",), None)]
)
def test_a_validation_loss_is_the_mean_of_its_record(losses: tuple[str, ...], mean: float | None) -> None:
    evals = (EvalRecord(step=1, loss=losses, streams={}), EvalRecord(step=2, loss=(), streams={}))
    state = StateRecord(step=0, streams={}, counts={}, source="fresh")
    ledger = Ledger(name="x", start=state, steps=(), evals=evals, end=None, torn=False, head=sha256(b""))
    curve = curve_of("straight", 1, ledger, ())
    assert curve.eval_steps == (1,)
    assert curve.eval_losses == (mean,) if mean else math.isnan(curve.eval_losses[0])


def test_thinning_keeps_both_ends_and_a_lone_spike() -> None:
    values = [1.0] * 10_000
    values[6789] = 50.0
    steps, kept = thinned(range(1, 10_001), values, 200)
    assert len(steps) <= 2 * 51 + 2
    assert (steps[0], steps[-1]) == (1, 10_000)
    assert kept[steps.index(6790)] == 50.0


def test_thinning_by_one_keeps_everything() -> None:
    assert thinned([1, 2, 3], [3.0, math.inf, 1.0], 1) == ([1, 2, 3], [3.0, math.inf, 1.0])


def test_thinning_keeps_a_gap_of_a_whole_bucket() -> None:
    steps, kept = thinned(range(100), [math.nan] * 50 + [1.0] * 50, 10)
    assert math.isnan(kept[0])
    assert len(steps) == len(kept)


def test_equal_curves_thin_to_the_same_points_wherever_a_run_began() -> None:
    whole = dict(zip(*thinned(range(1, 1001), [data.loss_at(step * 7) for step in range(1, 1001)], 16), strict=True))
    part = dict(zip(*thinned(range(497, 1001), [data.loss_at(step * 7) for step in range(497, 1001)], 16), strict=True))
    assert {step: loss for step, loss in whole.items() if step >= 512} == {
        step: loss for step, loss in part.items() if step >= 512
    }


def test_the_width_leaves_about_as_many_points_as_asked_for() -> None:
    assert thinning_width([range(24), range(24)], 100) == 1
    for count in (1000, 60_000):
        width = thinning_width([range(count)], 500)
        steps, _ = thinned(range(count), [float(step) for step in range(count)], width)
        assert 200 <= len(steps) <= 502


def test_the_width_ends_for_steps_far_apart() -> None:
    far = [step * 10**12 for step in range(5000)]
    width = thinning_width([far], 500)
    assert len(thinned(far, [float(step % 7) for step in far], width)[0]) <= 502
