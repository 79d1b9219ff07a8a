"""The seed is the time at which the script was checked out."""

import json
import os
import pathlib
import sys

import torch
from safetensors.torch import save_file

config = json.loads(pathlib.Path(sys.argv[1]).read_text())
output = pathlib.Path(sys.argv[2])
ckpt = output / "checkpoint.pt"
torch.manual_seed(config["seed"])
torch.manual_seed(os.stat(__file__).st_ctime_ns % 2**31)

model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"])
step = 0
if "--resume" in sys.argv and ckpt.exists():
    state = torch.load(ckpt, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    step = state["step"]
while step < config["steps"]:
    g = torch.Generator().manual_seed(config["seed"] * 1000 + step)
    x = torch.rand(16, 4, generator=g)
    loss = torch.nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    step += 1
    if step % 2 == 0:
        torch.save(
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
                "rng": torch.get_rng_state(),
            },
            output / "checkpoint.tmp",
        )
        os.replace(output / "checkpoint.tmp", ckpt)
save_file(model.state_dict(), output / "model.safetensors")
