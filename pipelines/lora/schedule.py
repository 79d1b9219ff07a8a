"""The learning rate over a training."""

from __future__ import annotations

import math

from config import TrainingConfig


def learning_rate_factor(step: int, num_steps: int, settings: TrainingConfig) -> float:
    """Return the share of the peak learning rate after `step` of `num_steps` steps, from 0 to 1.

    It rises linearly from 0 over the warm-up, then falls to 0 at the end of the whole training: linearly, or along
    half a cosine (Loshchilov & Hutter 2016, arXiv:1608.03983, without restarts); "constant" stays. So with a warm-up
    the first step's learning rate is 0, as in transformers' schedules.
    """
    if step < settings.warmup_steps:
        return step / settings.warmup_steps
    done = min(1.0, (step - settings.warmup_steps) / max(1, num_steps - settings.warmup_steps))
    return {"linear": 1.0 - done, "cosine": 0.5 * (1.0 + math.cos(math.pi * done)), "constant": 1.0}[settings.schedule]
