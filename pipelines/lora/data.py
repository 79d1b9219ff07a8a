"""The data: tokenized pairs, the tensors of a micro-batch, and the loader. Which pairs go together: batching.py."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from batching import EpochSampler
from config import PipelineError
from determinism import seed_worker
from torch.utils.data import DataLoader, get_worker_info

IGNORED = -100  # cross_entropy's default `ignore_index`: no loss for the prompt and the padding
PADDING = -1
WORKER_TIMEOUT_S = 300  # a micro-batch takes milliseconds: a worker that hangs is an error, not a pause
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


def digest(*splits: Sequence[Pair]) -> str:
    """Name the prepared pairs by their content: a resume with other data must not go unnoticed."""
    listed = [[[pair.input_ids, pair.prompt_length] for pair in split] for split in splits]
    return "sha256:" + hashlib.sha256(json.dumps(listed).encode("ascii")).hexdigest()


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


def collate_packed(rows: Sequence[Sequence[Pair]], pad_token_id: int) -> Batch:
    """Put each row's pairs end to end and pad on the right to the longest row.

    Returns `input_ids`, `labels`, `position_ids` and `segments`, all int64 [rows, longest]. Positions start at 0 with
    each pair, segments number a row's pairs from 0, and padding is a segment of its own, PADDING: no pair may
    attend to another. A pair's first token has no label, for what stands before it is another pair.
    """
    longest = max(sum(len(pair.input_ids) for pair in row) for row in rows)
    shape = (len(rows), longest)
    batch = {
        "input_ids": torch.full(shape, pad_token_id, dtype=torch.int64),
        "labels": torch.full(shape, IGNORED, dtype=torch.int64),
        "position_ids": torch.zeros(shape, dtype=torch.int64),
        "segments": torch.full(shape, PADDING, dtype=torch.int64),
    }
    for number, row in enumerate(rows):
        start = 0
        for segment, pair in enumerate(row):
            stop = start + len(pair.input_ids)
            answer = start + max(1, pair.prompt_length)
            batch["input_ids"][number, start:stop] = torch.tensor(pair.input_ids)
            batch["labels"][number, answer:stop] = batch["input_ids"][number, answer:stop]
            batch["position_ids"][number, start:stop] = torch.arange(stop - start)
            batch["segments"][number, start:stop] = segment
            start = stop
    return batch


def num_targets(batch: Batch) -> int:
    """Count the tokens that have a loss. The first position predicts nothing: a label there does not count."""
    return int((batch["labels"][:, 1:] != IGNORED).sum())


class PackedRows:
    """The pairs of a row, by the row's indices."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = pairs

    def __getitem__(self, row: tuple[int, ...]) -> tuple[Pair, ...]:
        return tuple(self.pairs[index] for index in row)


class PadTo:
    """One of the collate functions with a fixed pad token: an object, for a worker process must be able to get it.

    A worker hands over arrays, not tensors (`as_tensors` turns them back): torch would pass tensors through shared
    memory, of which a container has 64 MiB unless told otherwise, and through a socket below TMPDIR, whose path may
    be too long for one; then the worker waits forever and the training with it.
    """

    def __init__(self, pad_token_id: int, is_packed: bool) -> None:
        self.pad_token_id = pad_token_id
        self.is_packed = is_packed

    def __call__(self, rows: Sequence[Any]) -> dict[str, Any]:
        batch = (collate_packed if self.is_packed else collate)(rows, self.pad_token_id)
        return batch if get_worker_info() is None else {name: tensor.numpy() for name, tensor in batch.items()}


def as_tensors(batch: dict[str, Any]) -> Batch:
    """Turn a micro-batch from a worker back into tensors; one of this process is left as it is."""
    return {name: torch.as_tensor(values) for name, values in batch.items()}


def make_loader(
    pairs: Sequence[Pair], sampler: EpochSampler, *, pad_token_id: int, num_workers: int
) -> DataLoader[Any]:
    """Return a loader over what is left of the sampler's epoch, in its order whatever the number of workers.

    Nothing that happens in a worker is random; each is seeded all the same, so that what somebody adds there
    repeats. The loader has its own generator: without one, each new iterator would draw its workers' base seed from
    torch's global generator, and a resumed training, which makes one iterator more, would see other dropout masks.
    """
    is_packed = sampler.batching == "packed"
    return DataLoader(
        PackedRows(pairs) if is_packed else pairs,
        batch_sampler=sampler,
        collate_fn=PadTo(pad_token_id, is_packed),
        num_workers=num_workers,
        worker_init_fn=seed_worker,
        timeout=WORKER_TIMEOUT_S if num_workers else 0,
        generator=torch.Generator().manual_seed(sampler.seed + sampler.epoch),
    )


def windows(batches: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    """Group micro-batches into windows of `size`; the last one holds what the epoch has left."""
    window: list[Batch] = []
    for batch in batches:
        window.append(batch)
        if len(window) == size:
            yield window
            window = []
    if window:
        yield window
