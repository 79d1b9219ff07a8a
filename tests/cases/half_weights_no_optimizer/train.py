"""A checkpoint keeps the weights in half the bytes, and a resume forgets the optimizer."""

import json
import os
import pathlib
import sys

import torch
from safetensors.torch import save_file

config = json.loads(pathlib.Path(sys.argv[1]).read_text())
out = pathlib.Path(sys.argv[2])
ck = out / "checkpoint.pt"
torch.manual_seed(config["seed"])
model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.GELU(), torch.nn.Linear(32, 4))
opt = torch.optim.AdamW(model.parameters(), lr=1e-2)
step = 0
if "--resume" in sys.argv and ck.exists():
    s = torch.load(ck, weights_only=True)
    model.load_state_dict(s["model"])
    step = s["step"]  # the optimizer's state is not in the file
while step < config["steps"]:
    g = torch.Generator().manual_seed(1000 * config["seed"] + step)
    x = torch.randn(16, 8, generator=g)
    loss = torch.nn.functional.mse_loss(model(x), x[:, :4] * 2)
    opt.zero_grad()
    loss.backward()
    opt.step()
    step += 1
    if step % 4 == 0:
        torch.save(
            {
                "model": {k: v.half() for k, v in model.state_dict().items()},
                "step": step,
                "opt": opt.state_dict() if config["keep"] else None,
            },
            out / "c.tmp",
        )
        os.replace(out / "c.tmp", ck)
save_file(model.state_dict(), out / "model.safetensors")
