"""A generative adversarial network on points of a circle: two networks, two optimizers, three generators.

python train.py --config config.json --output folder [--resume]
"""

import argparse
import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def network(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, 32), nn.LeakyReLU(0.2), nn.Dropout(0.1), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, outputs)
    )


def main(config: dict, output: Path, resume: bool) -> None:
    torch.manual_seed(config["seed"])
    angle = torch.linspace(0, 6.28, 64)
    points = TensorDataset(torch.stack([angle.cos(), angle.sin()], dim=1))
    order = torch.Generator().manual_seed(config["seed"] + 1)
    noise = torch.Generator().manual_seed(config["seed"] + 2)
    loader = DataLoader(points, batch_size=8, shuffle=True, generator=order)
    generator, critic = network(4, 2), network(2, 1)
    generator_optimizer = torch.optim.Adam(generator.parameters(), lr=config["lr"], betas=(0.5, 0.999))
    critic_optimizer = torch.optim.Adam(critic.parameters(), lr=config["lr"], betas=(0.5, 0.999))
    criterion = nn.BCEWithLogitsLoss()

    output.mkdir(parents=True, exist_ok=True)
    path = output / "checkpoint.pt"
    step = position = 0
    epoch_order = order.get_state()
    saved = None
    if resume and path.exists():
        saved = torch.load(path, weights_only=True)
        generator.load_state_dict(saved["generator"])
        critic.load_state_dict(saved["critic"])
        generator_optimizer.load_state_dict(saved["generator_optimizer"])
        critic_optimizer.load_state_dict(saved["critic_optimizer"])
        step, position = saved["step"], saved["position"]
        epoch_order = saved["epoch_order"]

    while step < config["steps"]:
        order.set_state(epoch_order)
        batches = iter(loader)
        for _ in range(position):
            next(batches)
        if saved is not None:
            torch.set_rng_state(saved["torch"])
            noise.set_state(saved["noise"])
            saved = None
        for (real,) in batches:
            made = generator(torch.randn(len(real), 4, generator=noise))
            critic_optimizer.zero_grad()
            real_loss = criterion(critic(real), torch.full((len(real), 1), 0.9))
            fake_loss = criterion(critic(made.detach()), torch.zeros(len(real), 1))
            (real_loss + fake_loss).backward()
            critic_optimizer.step()
            generator_optimizer.zero_grad()
            criterion(critic(made), torch.ones(len(real), 1)).backward()
            generator_optimizer.step()
            step += 1
            position += 1
            if step % config["save_every"] == 0:
                state = {
                    "generator": generator.state_dict(),
                    "critic": critic.state_dict(),
                    "generator_optimizer": generator_optimizer.state_dict(),
                    "critic_optimizer": critic_optimizer.state_dict(),
                    "step": step,
                    "position": position,
                    "epoch_order": epoch_order,
                    "torch": torch.get_rng_state(),
                    "noise": noise.get_state(),
                }
                torch.save(state, output / "checkpoint.tmp")
                os.replace(output / "checkpoint.tmp", path)
            if step == config["steps"]:
                break
        position = 0
        epoch_order = order.get_state()
    save_file(generator.state_dict(), output / "generator.safetensors")
    save_file(critic.state_dict(), output / "critic.safetensors")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    main(json.loads(arguments.config.read_text()), arguments.output, arguments.resume)
