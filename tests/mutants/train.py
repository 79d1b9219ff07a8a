"""A training loop with one planted reproducibility bug, chosen by the configuration's `bug` key.

| bug | what it does | where it must be found |
|---|---|---|
| null | nothing: this is the control, it must be certified | nowhere |
| forgets_rng | generators are not restored | first resumed step, rng |
| forgets_moments | the optimizer's state is not restored | the restored state and the first resumed step, optim |
| replays_first_batches | the place in the data is not restored | first resumed step, data |
| starts_over | the checkpoint is ignored: the final bits are right | the resumed process begins at step 0 |
| unseeded | every process draws its seed from the system | step 1 of a second straight run |
| zero_lr | nothing is learned | the weights never move |
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

BUGS = (
    None,
    "forgets_rng",
    "forgets_moments",
    "replays_first_batches",
    "starts_over",
    "unseeded",
    "zero_lr",
)


def main(config: dict, output: Path, resume: bool) -> None:
    bug = config.get("bug")
    if bug not in BUGS:
        raise SystemExit(f"unknown bug {bug!r}; known: {', '.join(str(known) for known in BUGS)}")
    seed = int.from_bytes(os.urandom(4), "little") if bug == "unseeded" else config["seed"]
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
    source = torch.Generator().manual_seed(7)
    inputs = torch.randn(60, 12, generator=source)
    targets = torch.sin(inputs[:, :3].sum(dim=1, keepdim=True))
    model = nn.Sequential(nn.Linear(12, 24), nn.Tanh(), nn.Dropout(0.2), nn.Linear(24, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0 if bug == "zero_lr" else config["lr"])
    criterion = nn.MSELoss()
    folder = output / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)

    step = batch = 0
    saved = max(folder.glob("step????.pt"), default=None)
    if resume and saved is not None and bug != "starts_over":
        state = torch.load(saved, weights_only=True)
        step = state["step"]
        model.load_state_dict(state["model"])
        if bug != "forgets_moments":
            optimizer.load_state_dict(state["optimizer"])
        if bug != "forgets_rng":
            random.setstate(state["python"])
            numpy.random.set_state(state["numpy"])
            torch.set_rng_state(state["torch"])
        if bug != "replays_first_batches":
            batch = state["batch"]

    while step < config["steps"]:
        for _ in range(config["accumulation"]):
            rows = batch_rows(batch, config["batch_size"], len(inputs), config["seed"])
            loss = criterion(model(inputs[rows]), targets[rows]) / config["accumulation"]
            loss.backward()
            batch += 1
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if step % config["save_every"] == 0:
            name, key, *rest = numpy.random.get_state()
            temporary = folder / f"step{step:04d}.tmp"
            torch.save(
                {
                    "step": step,
                    "batch": batch,
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "python": random.getstate(),
                    "numpy": (name, key.tolist(), *rest),
                    "torch": torch.get_rng_state(),
                },
                temporary,
            )
            os.replace(temporary, folder / f"step{step:04d}.pt")
    save_file(model.state_dict(), output / "model.safetensors")


def batch_rows(batch: int, batch_size: int, num_examples: int, seed: int) -> torch.Tensor:
    """Return the rows of batch `batch`, counted over all epochs; every epoch has an order of its own."""
    epoch, position = divmod(batch, num_examples // batch_size)
    order = torch.randperm(num_examples, generator=torch.Generator().manual_seed(100 * seed + epoch))
    return order[position * batch_size : (position + 1) * batch_size]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    main(json.loads(arguments.config.read_text(encoding="utf-8")), arguments.output, arguments.resume)
