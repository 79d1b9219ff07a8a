"""A small language model on streamed text: shards, a shuffle buffer, worker processes.

python train.py --config config.json --output folder [--resume]
"""

import argparse
import json
import os
import random
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

WORDS = 50
LENGTH = 12


class Stream(IterableDataset):
    """Lines of four shards, shuffled through a buffer; every epoch has another order."""

    def __init__(self, seed: int, buffer_size: int):
        self.seed = seed
        self.buffer_size = buffer_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def shard(self, number: int):
        source = torch.Generator().manual_seed(100 + number)
        for _ in range(24):
            first = int(torch.randint(WORDS, (), generator=source))
            yield [(first + 3 * place) % WORDS for place in range(LENGTH)]

    def __iter__(self):
        worker = get_worker_info()
        mine, num_workers = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        chooser = random.Random(f"{self.seed}/{self.epoch}/{mine}")
        shards = list(range(mine, 4, num_workers))
        chooser.shuffle(shards)
        buffer = []
        for shard in shards:
            for line in self.shard(shard):
                if len(buffer) < self.buffer_size:
                    buffer.append(line)
                    continue
                chosen = chooser.randrange(self.buffer_size)
                buffer[chosen], line = line, buffer[chosen]
                yield torch.tensor(line)
        chooser.shuffle(buffer)
        yield from (torch.tensor(line) for line in buffer)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 24)
        self.recurrent = nn.GRU(24, 24, batch_first=True)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(24, WORDS)

    def forward(self, tokens):
        return self.head(self.dropout(self.recurrent(self.embedding(tokens))[0]))


def main(config: dict, output: Path, resume: bool) -> None:
    random.seed(config["seed"])
    torch.manual_seed(config["seed"])
    stream = Stream(config["seed"], config["buffer"])
    loader = DataLoader(stream, batch_size=8, num_workers=config["workers"], drop_last=True)
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"])
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=config["lr"], total_steps=config["steps"])

    output.mkdir(parents=True, exist_ok=True)
    step = epoch = position = 0
    saved = None
    found = max(output.glob("checkpoint-????.pt"), default=None)
    if resume and found is not None:
        saved = torch.load(found, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        scheduler.load_state_dict(saved["scheduler"])
        step, epoch, position = saved["step"], saved["epoch"], saved["position"]

    while step < config["steps"]:
        stream.set_epoch(epoch)
        batches = iter(loader)
        for _ in range(position):
            next(batches)
        if saved is not None:
            random.setstate(saved["python"])
            torch.set_rng_state(saved["torch"])
            saved = None
        for tokens in batches:
            logits = model(tokens[:, :-1])
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            step += 1
            position += 1
            if step % config["save_every"] == 0:
                state = {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "scheduler": scheduler.state_dict(),
                    "step": step,
                    "epoch": epoch,
                    "position": position,
                    "python": random.getstate(),
                    "torch": torch.get_rng_state(),
                }
                torch.save(state, output / "checkpoint.tmp")
                os.replace(output / "checkpoint.tmp", output / f"checkpoint-{step:04d}.pt")
            if step == config["steps"]:
                break
        epoch += 1
        position = 0
    save_file(model.state_dict(), output / "model.safetensors")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    main(json.loads(arguments.config.read_text()), arguments.output, arguments.resume)
