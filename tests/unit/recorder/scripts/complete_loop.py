"""A training loop with everything that a step can depend on, which knows nothing of the recorder and resumes exactly.

Epochs in seeded orders, dropout, gradient accumulation, clipping, a scheduler, three generators, a module as the loss;
checkpoints that appear whole or not at all.
"""

import argparse
import json
import os
import random
from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file
from torch import nn


def main(config: dict, output: Path, resume: bool) -> None:
    seed, batch_size, accumulation = config["seed"], config["batch_size"], config["accumulation"]
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
    data = torch.Generator().manual_seed(seed + 1)
    inputs = torch.randn(96, 16, generator=data)
    labels = (inputs @ torch.randn(16, 4, generator=data)).argmax(dim=1)
    model = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Dropout(0.1), nn.Linear(64, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"])
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=config["steps"])
    criterion, checkpoints = nn.CrossEntropyLoss(), output / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    newest = max(checkpoints.glob("step????.pt"), default=None) if resume else None
    step = load(newest, model, optimizer, scheduler) if newest else 0

    while step < config["steps"]:
        for micro in range(step * accumulation, (step + 1) * accumulation):
            epoch, position = divmod(micro, len(inputs) // batch_size)
            order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(1000 * seed + epoch))
            rows = order[position * batch_size : (position + 1) * batch_size]
            noise = random.random() + numpy.random.random()
            loss = criterion(model(inputs[rows] + 0.01 * noise), labels[rows]) / accumulation
            loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
        step += 1
        if step % config["save_every"] == 0 or step == config["steps"]:
            save(checkpoints / f"step{step:04d}.pt", step, model, optimizer, scheduler)
    save_file(model.state_dict(), output / "model.safetensors")


def save(path: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: object) -> None:
    name, key, *rest = numpy.random.get_state()
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "step": step,
        "python_rng": random.getstate(),
        "numpy_rng": (name, key.tolist(), *rest),
        "torch_rng": torch.get_rng_state(),
    }
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: object) -> int:
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["scheduler"])
    random.setstate(state["python_rng"])
    numpy.random.set_state(state["numpy_rng"])
    torch.set_rng_state(state["torch_rng"])
    return state["step"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    main(json.loads(arguments.config.read_text(encoding="utf-8")), arguments.output, arguments.resume)
