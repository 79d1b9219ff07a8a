from __future__ import annotations

import json
import math

from harness.report.curves import curve_from_bytes, curve_from_rows, thinned, thinning_width
from tests.made import report_data as data


def jsonl(rows: list[dict]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def test_a_curve_has_a_value_per_step() -> None:
    curve = curve_from_bytes("straight", 1, jsonl(data.rows(1, 24)))
    assert curve.steps == tuple(range(1, 25))
    assert curve.losses == tuple(data.loss_at(step) for step in range(1, 25))
    assert curve.rss_bytes[0] == 910_000_000
    assert curve.vram_bytes == (None,) * 24


def test_a_torn_last_line_is_left_out() -> None:
    assert curve_from_bytes("straight", 1, jsonl(data.rows(1, 4))[:-20]).steps == (1, 2, 3)


def test_lines_that_are_no_rows_are_left_out() -> None:
    content = b'null\n[1]\n"x"\n{"step":true}\n{"step":-1}\n\xff\n' + b"[" * 100_000 + b"\n" + b'{"step":3,"loss":1}\n'
    assert curve_from_bytes("straight", 1, content).steps == (3,)


def test_what_is_no_number_is_nan() -> None:
    losses = [None, "x", [], True, math.inf, 10**400, "0x1p99999", "0x1.8p+1", 2]
    curve = curve_from_rows("straight", 1, [{"step": step, "loss": loss} for step, loss in enumerate(losses)])
    assert [math.isnan(loss) for loss in curve.losses] == [True] * 7 + [False] * 2
    assert curve.losses[-2:] == (3.0, 2.0)
    assert all(math.isnan(rate) for rate in curve.learning_rates)


def test_steps_come_in_order_and_the_last_row_of_a_step_counts() -> None:
    rows = [{"step": 2, "loss": 1.0}, {"step": 1, "loss": 5.0}, {"step": 2, "loss": 3.0}]
    curve = curve_from_rows("resumed", 2, rows)
    assert (curve.steps, curve.losses) == ((1, 2), (5.0, 3.0))


def test_validation_losses_are_the_means_of_eval_records() -> None:
    ledger = jsonl(
        [
            {"kind": "step", "step": 1, "loss": ["0x1p+1"]},
            {"kind": "eval", "step": 1, "loss": ["0x1p+1", "0x1p+2"]},
            {"kind": "eval", "step": 2, "loss": []},
        ]
    )
    curve = curve_from_bytes("straight", 1, b"", ledger)
    assert (curve.eval_steps, curve.eval_losses) == ((1,), (3.0,))


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
