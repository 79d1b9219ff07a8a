import random


class Sampler:
    def __init__(self, indices, rng=None):
        self.indices = indices
        self.rng = rng or random.Random()  # expect: REP104 possible

    def __iter__(self):
        order = list(self.indices)
        self.rng.shuffle(order)
        return iter(order)
