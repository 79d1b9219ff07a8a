"""The smallest comparison of two ledgers: where do they first differ?"""

import hashlib
import json

CAUSAL_ORDER = ("data", "rng", "lr", "loss", "grad", "optim", "param", "buffer")


def first_divergence(one: dict[int, dict], other: dict[int, dict]) -> tuple[int, str] | None:
    """Return the first (step, stream) at which two runs differ, over the steps that both have."""
    for step in sorted(one.keys() & other.keys()):
        for stream in CAUSAL_ORDER:
            if one[step]["streams"].get(stream) != other[step]["streams"].get(stream):
                return step, stream
    return None


def content(record: dict) -> dict:
    """Return a record without its place in the chain."""
    return {key: value for key, value in record.items() if key != "chain"}


def assert_chain_holds(lines: list[dict]) -> None:
    """Recompute a hash chain from the definition."""
    head = hashlib.sha256(b"").hexdigest()
    for record in lines:
        text = json.dumps(content(record), sort_keys=True, separators=(",", ":"))
        head = hashlib.sha256((head + text).encode()).hexdigest()
        assert record["chain"] == head
