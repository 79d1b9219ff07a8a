import random


def split_of(text: str) -> str:
    return "valid" if hash(text) % 100 < 5 else "train"  # expect: REP205


def rng_for(name):
    return random.Random(hash(name))  # expect: REP205 possible


print(split_of("a"), rng_for("b").random())
