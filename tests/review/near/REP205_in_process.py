import hashlib


class Key:
    def __init__(self, name, size):
        self.name = name
        self.size = size

    def __hash__(self):
        return hash((self.name, self.size)) % 2**32


cache = {}


def cached(text):
    key = hash(text)
    if key not in cache:
        cache[key] = text.upper()
    return cache[key]


def bucket(number: int) -> int:
    return hash(number) % 8


def seed_of(seed, epoch, index):
    """Numbers hash to themselves, and tuples of them the same way in every process."""
    return int(hash((seed, epoch, index)) % 1e6)


def split_of(text: str) -> str:
    return "valid" if int(hashlib.sha256(text.encode()).hexdigest(), 16) % 100 < 5 else "train"
