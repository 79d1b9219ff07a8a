import math

import pytest


def expected(kind, warmup, step):
    """The formulas, written out for 12 steps: up to 1 over the warm-up, then down to 0 at step 12."""
    if step < warmup:
        return step / warmup
    left = (12 - step) / (12 - warmup)
    return {"linear": left, "cosine": math.cos(math.pi * (1 - left) / 2) ** 2, "constant": 1.0}[kind]


def test_every_schedule_with_and_without_warm_up_follows_its_formula(pieces):
    assert len(pieces["schedules"]) == 9
    for kind, warmup, ours, _ in pieces["schedules"]:
        assert ours == pytest.approx([expected(kind, warmup, step) for step in range(13)], abs=1e-15)


def test_every_schedule_is_the_one_that_transformers_calls_by_its_name(pieces):
    for kind, warmup, ours, theirs in pieces["schedules"]:
        assert ours == pytest.approx(theirs, abs=1e-15), (kind, warmup)


def test_the_first_step_of_a_warm_up_has_rate_zero_and_the_step_after_it_the_peak(pieces):
    for _, warmup, ours, _ in pieces["schedules"]:
        assert ours[0] == (0.0 if warmup else 1.0)
        assert ours[warmup] == 1.0


def test_a_falling_schedule_is_at_zero_only_after_the_last_step(pieces):
    for kind, _, ours, _ in pieces["schedules"]:
        if kind != "constant":
            assert ours[11] > 0.0
            assert ours[12] == pytest.approx(0.0, abs=1e-15)
