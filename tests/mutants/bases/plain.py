"""Train a small convolutional network; one checkpoint holds all that a resume needs.

python train.py --config config.json --output folder [--resume]
"""

import argparse
import copy
import json
import math
import os
import random
from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Pictures(Dataset):
    """Small pictures; those for training change a little every time they are read."""

    def __init__(self, count: int, seed: int, augment: bool):
        source = torch.Generator().manual_seed(seed)
        self.images = torch.randn(count, 1, 8, 8, generator=source)
        self.labels = (self.images[:, 0, :4].mean(dim=(1, 2)) > 0).long()
        self.augment = augment

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image = self.images[index]
        if self.augment:
            if random.random() < 0.5:
                image = image.flip(-1)
            image = image + float(numpy.random.normal(0.0, 0.1))
            image = image.roll(int(torch.randint(-1, 2, ())), dims=-1)
        return image, self.labels[index]


def make_model(config: dict) -> nn.Module:
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(512, 32),
        nn.ReLU(),
        nn.Linear(32, 2),
    )
    if config["freeze"]:
        model[0].requires_grad_(False)
    return model


def make_optimizer(config: dict, model: nn.Module) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": config["weight_decay"]},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if config["optimizer"] == "sgd":
        return torch.optim.SGD(groups, lr=config["lr"], momentum=0.9)
    return torch.optim.AdamW(groups, lr=config["lr"])


def make_scheduler(config: dict, optimizer: torch.optim.Optimizer):
    total = config["steps"]

    def factor(step: int) -> float:
        if not config["schedule"]:
            return 1.0
        if step < 3:
            return (step + 1) / 4
        return 0.5 * (1 + math.cos(math.pi * step / total))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


class Average:
    """An exponential moving average of the weights, faster at the beginning."""

    def __init__(self, model: nn.Module):
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.updates += 1
        decay = min(0.99, (1 + self.updates) / (10 + self.updates))
        for mine, theirs in zip(self.model.parameters(), model.parameters(), strict=True):
            mine.mul_(decay).add_(theirs, alpha=1 - decay)


@torch.no_grad()
def validate(model: nn.Module, pictures: Pictures) -> float:
    """The loss on a random half of the validation pictures."""
    model.eval()
    chosen = torch.randperm(len(pictures))[: len(pictures) // 2]
    loss = nn.functional.cross_entropy(model(pictures.images[chosen]), pictures.labels[chosen])
    model.train()
    return loss.item()


def write(state: dict, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def write_text(text: str, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def numpy_state() -> tuple:
    name, key, *rest = numpy.random.get_state()
    return (name, key.tolist(), *rest)


def main(config: dict, output: Path, resume: bool) -> None:
    random.seed(config["seed"])
    numpy.random.seed(config["seed"])
    torch.manual_seed(config["seed"])
    training = Pictures(48, seed=1, augment=config["augment"])
    validation = Pictures(32, seed=2, augment=False)
    order = torch.Generator().manual_seed(config["seed"])
    loader = DataLoader(
        training, batch_size=8, shuffle=True, drop_last=True, num_workers=config["workers"], generator=order
    )
    model = make_model(config)
    optimizer = make_optimizer(config, model)
    scheduler = make_scheduler(config, optimizer)
    average = Average(model) if config["ema"] else None

    folder = output / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    latest = folder / "latest.txt"
    step = epoch = position = bad_epochs = 0
    best = math.inf
    epoch_order = order.get_state()
    saved = None
    if resume and latest.exists():
        saved = torch.load(folder / latest.read_text(), weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        scheduler.load_state_dict(saved["scheduler"])
        if average is not None:
            average.model.load_state_dict(saved["average"])
            average.updates = saved["average_updates"]
        step, epoch, position = saved["step"], saved["epoch"], saved["position"]
        best, bad_epochs = saved["best"], saved["bad_epochs"]
        epoch_order = saved["epoch_order"]

    model.train()
    while step < config["steps"]:
        order.set_state(epoch_order)
        batches = iter(loader)
        for _ in range(position):
            next(batches)
        if saved is not None:
            random.setstate(saved["python"])
            numpy.random.set_state(saved["numpy"])
            torch.set_rng_state(saved["torch"])
            saved = None
        for images, labels in batches:
            loss = nn.functional.cross_entropy(model(images), labels) / config["accumulation"]
            loss.backward()
            position += 1
            if position % config["accumulation"] and position < len(loader):
                continue
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            if average is not None:
                average.update(model)
            step += 1
            if step % config["save_every"] == 0:
                path = folder / f"step{step:04d}.pt"
                state = {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "scheduler": scheduler.state_dict(),
                    "average": average.model.state_dict() if average is not None else None,
                    "average_updates": average.updates if average is not None else 0,
                    "step": step,
                    "epoch": epoch,
                    "position": position,
                    "best": best,
                    "bad_epochs": bad_epochs,
                    "epoch_order": epoch_order,
                    "python": random.getstate(),
                    "numpy": numpy_state(),
                    "torch": torch.get_rng_state(),
                }
                write(state, path)
                write_text(path.name, latest)
                for old in sorted(folder.glob("step????.pt"))[:-2]:
                    old.unlink()
            if step == config["steps"]:
                break
        measured = validate(average.model if average is not None else model, validation)
        if measured < best:
            best, bad_epochs = measured, 0
            save_file(model.state_dict(), output / "best.safetensors")
        else:
            bad_epochs += 1
        if bad_epochs >= config["patience"]:
            break
        epoch += 1
        position = 0
        epoch_order = order.get_state()

    save_file(model.state_dict(), output / "model.safetensors")
    if average is not None:
        save_file(average.model.state_dict(), output / "average.safetensors")
    summary = {"best": best, "bad_epochs": bad_epochs, "epochs": epoch, "steps": step}
    (output / "summary.json").write_text(json.dumps(summary))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    main(json.loads(arguments.config.read_text()), arguments.output, arguments.resume)
