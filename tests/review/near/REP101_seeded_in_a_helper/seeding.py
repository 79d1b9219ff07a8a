import random as python_random

import torch as th


def seed_everything_here(seed: int) -> None:
    python_random.seed(seed)
    th.manual_seed(seed)
