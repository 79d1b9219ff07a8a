import numpy as np


def mix(sources, weights, total):
    """Draws how many examples come from which source."""
    rng = np.random.default_rng()  # expect: REP104
    return rng.multinomial(total, weights)


print(mix(["a", "b"], [0.3, 0.7], 1000))
