"""Half precision on a CPU with a gradient scaler that grows and backs off while it trains.

python train.py --config config.json --output folder [--resume]
"""

import argparse
import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn


def main(config: dict, output: Path, resume: bool) -> None:
    torch.manual_seed(config["seed"])
    source = torch.Generator().manual_seed(1)
    inputs = torch.randn(96, 16, generator=source)
    targets = inputs[:, :4].sum(dim=1, keepdim=True).tanh()
    model = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Dropout(0.1), nn.LayerNorm(32), nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"])
    scaler = torch.amp.GradScaler("cpu", init_scale=config["init_scale"], growth_interval=3)

    output.mkdir(parents=True, exist_ok=True)
    path = output / "checkpoint.pt"
    step = 0
    if resume and path.exists():
        saved = torch.load(path, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        scaler.load_state_dict(saved["scaler"])
        torch.set_rng_state(saved["torch"])
        step = saved["step"]

    while step < config["steps"]:
        epoch, position = divmod(step, 12)
        rows = torch.randperm(96, generator=torch.Generator().manual_seed(epoch))[8 * position : 8 * position + 8]
        with torch.autocast("cpu", dtype=torch.float16):
            loss = nn.functional.mse_loss(model(inputs[rows]).float(), targets[rows])
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        step += 1
        if step % config["save_every"] == 0:
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scaler": scaler.state_dict(),
                "torch": torch.get_rng_state(),
                "step": step,
            }
            torch.save(state, output / "checkpoint.tmp")
            os.replace(output / "checkpoint.tmp", path)
    save_file(model.state_dict(), output / "model.safetensors")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    main(json.loads(arguments.config.read_text()), arguments.output, arguments.resume)
