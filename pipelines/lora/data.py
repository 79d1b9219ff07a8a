"""The data: tokenized pairs, micro-batches, and an order that depends on nothing but seed and epoch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from config import PipelineError
from determinism import seed_worker
from torch.utils.data import DataLoader, Sampler

IGNORED = -100  # cross_entropy's default `ignore_index`: no loss for the prompt and the padding
Batch = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Pair:
    """One prompt and its answer as token ids; the first `prompt_length` of them are the prompt."""

    input_ids: tuple[int, ...]
    prompt_length: int


def fill_prompt(template: str, word: str, part: str) -> str:
    """Put a word and its part of speech into the configured prompt."""
    return template.replace("{word}", word).replace("{part}", part)


def load_pairs(prepared: Path, split: str) -> list[Pair]:
    """Read one split, "train" or "validation", of `pairs.jsonl`, in the file's order.

    Raises:
        PipelineError: the file is missing or malformed, or holds no such pair.
    """
    path = prepared / "pairs.jsonl"
    if not path.is_file():
        raise PipelineError(f"no data: {path} does not exist", "run prepare.py first and give its folder as --prepared")
    pairs = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
                pair = Pair(tuple(record["input_ids"]), int(record["prompt_length"]))
                belongs = record["split"] == split
            except (ValueError, KeyError, TypeError) as error:
                raise PipelineError(f"{path}, line {number}: {error!r}", "run prepare.py again") from error
            if belongs:
                pairs.append(pair)
    if not pairs:
        raise PipelineError(f"{path} holds no {split} pairs", "run prepare.py again with more pairs")
    return pairs


def collate(pairs: Sequence[Pair], pad_token_id: int) -> Batch:
    """Pad pairs on the right to the longest of them.

    Returns `input_ids`, `attention_mask` and `labels`, all int64 [pairs, longest]. Labels are the input ids where
    the answer stands and IGNORED on prompt and padding; the model shifts them by one.
    """
    longest = max(len(pair.input_ids) for pair in pairs)
    shape = (len(pairs), longest)
    input_ids = torch.full(shape, pad_token_id, dtype=torch.int64)
    attention_mask = torch.zeros(shape, dtype=torch.int64)
    labels = torch.full(shape, IGNORED, dtype=torch.int64)
    for row, pair in enumerate(pairs):
        length = len(pair.input_ids)
        input_ids[row, :length] = torch.tensor(pair.input_ids)
        attention_mask[row, :length] = 1
        labels[row, pair.prompt_length : length] = input_ids[row, pair.prompt_length : length]
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


def num_targets(batch: Batch) -> int:
    """Count the tokens that have a loss. The first position predicts nothing: a label there does not count."""
    return int((batch["labels"][:, 1:] != IGNORED).sum())


class EpochSampler(Sampler[list[int]]):
    """Micro-batches of indices, shuffled anew in each epoch.

    The order of epoch e is the permutation from a generator of its own, seeded with seed + e. So it is known
    without running the epochs before it, and a resume in the middle of an epoch skips indices: it draws the
    same permutation and starts at `position`, with no data loaded and no global random number drawn.
    """

    def __init__(self, *, num_pairs: int, batch_size: int, seed: int, pairs_per_epoch: int | None = None) -> None:
        if pairs_per_epoch is not None and pairs_per_epoch > num_pairs:
            raise PipelineError(
                f"data.pairs_per_epoch is {pairs_per_epoch}, but only {num_pairs} pairs are prepared",
                "lower data.pairs_per_epoch",
            )
        self.num_pairs = num_pairs
        self.batch_size = batch_size
        self.seed = seed
        self.pairs_per_epoch = num_pairs if pairs_per_epoch is None else pairs_per_epoch
        self.epoch = 0
        self.position = 0

    @property
    def batches_per_epoch(self) -> int:
        """Number of micro-batches of a whole epoch; the last one may be smaller."""
        return -(-self.pairs_per_epoch // self.batch_size)

    def set_epoch(self, epoch: int, position: int = 0) -> None:
        """Choose the epoch (0, 1, ...) and how many of its micro-batches are already done."""
        self.epoch = epoch
        self.position = position

    def __len__(self) -> int:
        return self.batches_per_epoch - self.position

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(self.num_pairs, generator=generator)[: self.pairs_per_epoch].tolist()
        for start in range(self.position * self.batch_size, len(order), self.batch_size):
            yield order[start : start + self.batch_size]

    def state_dict(self, position: int) -> dict[str, int]:
        """Return the state after `position` consumed micro-batches (a loader that prefetches has drawn more)."""
        return {
            "seed": self.seed, "epoch": self.epoch, "position": position, "num_pairs": self.num_pairs,
            "batch_size": self.batch_size, "pairs_per_epoch": self.pairs_per_epoch,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, int]) -> None:
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


class PadTo:
    """`collate` with a fixed pad token: an object, because a worker process must be able to receive it."""

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id

    def __call__(self, pairs: Sequence[Pair]) -> Batch:
        return collate(pairs, self.pad_token_id)


def make_loader(
    pairs: Sequence[Pair], sampler: EpochSampler, *, pad_token_id: int, num_workers: int
) -> DataLoader[Any]:
    """Return a loader over what is left of the sampler's epoch.

    It has its own generator: without one, each new iterator would draw its workers' base seed from torch's global
    generator, and a resumed training, which makes one iterator more, would see other dropout masks.
    """
    return DataLoader(
        pairs,  # type: ignore[arg-type]
        batch_sampler=sampler,
        collate_fn=PadTo(pad_token_id),
        num_workers=num_workers,
        worker_init_fn=seed_worker,
        generator=torch.Generator().manual_seed(sampler.seed + sampler.epoch),
    )


def windows(batches: Iterator[Batch] | DataLoader[Any], size: int) -> Iterator[list[Batch]]:
    """Group micro-batches into windows of `size`; the last one holds what the epoch has left."""
    window: list[Batch] = []
    for batch in batches:
        window.append(batch)
        if len(window) == size:
            yield window
            window = []
    if window:
        yield window
