import random

import numpy as np


def restore(state):
    rng = random.Random()
    rng.setstate(state["python"])
    other = np.random.default_rng()
    other.bit_generator.state = state["numpy"]
    return rng, other


def fresh(seed):
    return random.Random(seed), np.random.default_rng(seed=seed), np.random.RandomState(seed)
