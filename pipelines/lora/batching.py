"""Which pairs stand together in a micro-batch, and in which order: functions of seed and epoch, and of nothing else.

A micro-batch is a list of rows, a row holds one pair or, packed, several. Three ways to fill them (`data.batching`):

    shuffled   the epoch's permutation, cut into micro-batches
    bucketed   the permutation is cut into buckets, each sorted by length and cut into micro-batches, and these are
               shuffled: pairs of like length stand together, so there is less padding
    packed     pairs are put end to end into rows of at most `data.pack_length` tokens, and the rows are shuffled.
               A pair is never cut and never sees another (block-diagonal attention, positions from 0)

Every pair of an epoch comes exactly once. The whole list of an epoch is known before its first micro-batch, without
running the epochs before it; a resume in the middle skips what is done by position. Loader workers are handed
finished lists, so their number changes nothing.

The number of steps: an epoch's micro-batches are counted from its list, ceil(micro-batches / accumulation) of them
are its steps, and a training has the sum over its epochs. Shuffled and bucketed epochs are all of one length; packed
ones may differ, because another permutation packs otherwise. The sum is still known before the first step, for the
lists are: the schedule is laid over it, and `train.py` prints it first (an experiment's `steps` is that number).
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from config import PipelineError
from torch.utils.data import Sampler

Row = int | tuple[int, ...]  # one pair, or the pairs of a packed row

# Buckets of many micro-batches pad less, many buckets mix more: at most 50 micro-batches each, at least 4 buckets.
MAX_BUCKET_BATCHES = 50
MIN_BUCKETS = 4


def cut(items: Sequence[Any], size: int) -> list[list[Any]]:
    """Cut a sequence into lists of `size`; the last one holds what is left."""
    return [list(items[start : start + size]) for start in range(0, len(items), size)]


def bucketed(order: list[int], lengths: Sequence[int], batch_size: int, generator: torch.Generator) -> list[list[Row]]:
    """Make micro-batches of pairs of like length. There are as many of them as without bucketing."""
    num_batches = -(-len(order) // batch_size)
    in_bucket = max(1, min(MAX_BUCKET_BATCHES, num_batches // MIN_BUCKETS))
    batches: list[list[Row]] = []
    for bucket in cut(order, in_bucket * batch_size):  # a whole number of micro-batches, so only the last one is short
        batches += cut(sorted(bucket, key=lambda index: lengths[index]), batch_size)  # stable: ties keep their order
    return [batches[place] for place in torch.randperm(len(batches), generator=generator).tolist()]


def packed(
    order: list[int], lengths: Sequence[int], batch_size: int, row_length: int, generator: torch.Generator
) -> list[list[Row]]:
    """Make micro-batches of packed rows: the longest pair first, each into the fullest row that has room for it.

    Best-fit decreasing: it needs at most 11/9 of the fewest possible rows, plus 4 (Johnson et al. 1974, SIAM J.
    Comput. 3(4)); for training data it was proposed by Ding et al. 2024, arXiv:2404.10830. Of pairs of one length the
    permutation's first comes first, of rows with equal room the one opened first.
    """
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (free tokens, row), sorted
    for index in sorted(order, key=lambda index: -lengths[index]):
        place = bisect.bisect_left(room, (lengths[index], -1))
        if place == len(room):
            free, row = row_length, len(rows)
            rows.append([])
        else:
            free, row = room.pop(place)
        rows[row].append(index)
        bisect.insort(room, (free - lengths[index], row))
    shuffled = torch.randperm(len(rows), generator=generator).tolist()
    return cut([tuple(rows[place]) for place in shuffled], batch_size)


class EpochSampler(Sampler[list[Row]]):
    """The micro-batches of one epoch after another, each a list of rows.

    The permutation of epoch e comes from a generator of its own, seeded with seed + e: no global random number is
    drawn. A resume in the middle of an epoch makes the same list and starts at `position`; no data are loaded for
    what it skips.
    """

    def __init__(
        self,
        *,
        num_pairs: int,
        batch_size: int,
        seed: int,
        pairs_per_epoch: int | None = None,
        batching: str = "shuffled",
        lengths: Sequence[int] = (),
        row_length: int = 0,
    ) -> None:
        """Take `lengths`, the pairs' numbers of tokens, unless shuffled; and `row_length`, in tokens, if packed.

        Raises:
            PipelineError: an epoch wants more pairs than there are, or a pair is longer than a packed row.
        """
        if pairs_per_epoch is not None and pairs_per_epoch > num_pairs:
            raise PipelineError(
                f"data.pairs_per_epoch is {pairs_per_epoch}, but only {num_pairs} pairs are prepared",
                "lower data.pairs_per_epoch",
            )
        if batching == "packed" and max(lengths) > row_length:
            raise PipelineError(
                f"a pair of {max(lengths)} tokens does not fit into a packed row of {row_length}",
                "raise data.pack_length, or run prepare.py again with a lower data.max_length",
            )
        self.num_pairs = num_pairs
        self.batch_size = batch_size
        self.seed = seed
        self.pairs_per_epoch = num_pairs if pairs_per_epoch is None else pairs_per_epoch
        self.batching = batching
        self.lengths = lengths
        self.row_length = row_length
        self.epoch = 0
        self.position = 0

    def batches(self, epoch: int) -> list[list[Row]]:
        """Return all micro-batches of an epoch (0, 1, ...) in their order."""
        generator = torch.Generator().manual_seed(self.seed + epoch)
        order = torch.randperm(self.num_pairs, generator=generator)[: self.pairs_per_epoch].tolist()
        if self.batching == "bucketed":
            return bucketed(order, self.lengths, self.batch_size, generator)
        if self.batching == "packed":
            return packed(order, self.lengths, self.batch_size, self.row_length, generator)
        return cut(order, self.batch_size)

    def num_batches(self, epoch: int) -> int:
        """Count the micro-batches of a whole epoch; the last one of a list may be smaller."""
        return len(self.batches(epoch)) if self.batching == "packed" else -(-self.pairs_per_epoch // self.batch_size)

    def set_epoch(self, epoch: int, position: int = 0) -> None:
        """Choose the epoch and how many of its micro-batches are already done."""
        self.epoch = epoch
        self.position = position

    def __len__(self) -> int:
        return self.num_batches(self.epoch) - self.position

    def __iter__(self) -> Iterator[list[Row]]:
        yield from self.batches(self.epoch)[self.position :]

    def state_dict(self, position: int) -> dict[str, Any]:
        """Return the state after `position` consumed micro-batches (a loader that prefetches has drawn more)."""
        return {
            "seed": self.seed,
            "epoch": self.epoch,
            "position": position,
            "num_pairs": self.num_pairs,
            "batch_size": self.batch_size,
            "pairs_per_epoch": self.pairs_per_epoch,
            "batching": self.batching,
            "row_length": self.row_length,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken.

        Raises:
            PipelineError: the state belongs to other data or another order.
        """
        own = self.state_dict(0)
        differing = [key for key in own if key not in ("epoch", "position") and own[key] != state.get(key)]
        if differing:
            raise PipelineError(
                f"the checkpoint's sampler differs in {', '.join(differing)}",
                "resume with the configuration and the prepared data that the checkpoint was made with",
            )
        self.set_epoch(state["epoch"], state["position"])
