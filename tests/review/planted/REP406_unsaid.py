from torch import load


def both(path):
    state = load(path, map_location="cpu")  # expect: REP406
    more = load(path + ".more")
    return state, more
