"""The smallest thing that can be certified: `python train.py --config config.json --output out [--resume]`."""

import argparse
import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--config", type=Path, required=True)
parser.add_argument("--output", type=Path, required=True)
parser.add_argument("--resume", action="store_true")
arguments = parser.parse_args()
config, folder = json.loads(arguments.config.read_text()), arguments.output / "checkpoints"
folder.mkdir(parents=True, exist_ok=True)

torch.manual_seed(config["seed"])
hidden, nn = config.get("hidden", 64), torch.nn
model = nn.Sequential(nn.Linear(16, hidden), nn.GELU(), nn.Dropout(0.1), nn.Linear(hidden, 4))
optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"])
step, newest = 0, max(folder.glob("step????.pt"), default=None)
if arguments.resume and newest:
    state = torch.load(newest, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    step = state["step"]

while step < config["steps"]:
    for micro in range(config["accumulation"]):  # the data of a micro-batch depend on its number alone
        draw = torch.Generator().manual_seed(config["seed"] + step * config["accumulation"] + micro)
        x = torch.randn(config["batch_size"], 16, generator=draw)
        loss = nn.functional.cross_entropy(model(x), x[:, :4].argmax(dim=1)) / config["accumulation"]
        loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    step += 1
    if step % config["save_every"] == 0:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        torch.save(state | {"rng": torch.get_rng_state()}, folder / "step.tmp")
        os.replace(folder / "step.tmp", folder / f"step{step:04d}.pt")  # a kill leaves the whole file or none
save_file(model.state_dict(), arguments.output / "model.safetensors")
