"""Early: two ledgers compared while they are being written, so that nobody pays for steps after a first difference.

This only decides when to stop. What is said about it comes from the comparison of the whole evidence afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]
"""A line of a ledger, as JSON; nobody has checked it."""

_FIELDS = {"data": "micro_batches", "lr": "lr", "loss": "loss", "optim": "skipped"}


def differs(left: Row, right: Row) -> bool:
    """Whether two records of the same step show a difference that the verdict will count.

    The generators are left out: one that nothing draws from may differ, and that is known at the end only. A stream
    that one side did not see is no difference either.

    Args:
        left: a line of the straight run's ledger; it may be anything that JSON can hold.
        right: the other run's line.
    """
    one, two = left.get("streams"), right.get("streams")
    if not isinstance(one, dict) or not isinstance(two, dict):
        return False
    both = (one.keys() & two.keys()) - {"rng"}
    if left.get("micro_batches") != right.get("micro_batches") and left.get("rng_within"):
        both -= {"data", "loss"}  # a resume within an accumulation window did only the last of them
    if any(one[stream] != two[stream] for stream in both):
        return True
    return any(left.get(_FIELDS[stream]) != right.get(_FIELDS[stream]) for stream in both & _FIELDS.keys())
