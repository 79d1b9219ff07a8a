"""A checkpoint keeps the weights in half the bytes, beside SGD, which counts no steps."""

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
make = {"adamw": lambda p: torch.optim.AdamW(p, lr=1e-2), "sgd": lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9)}
opt = make[config["optimizer"]](model.parameters())
step = 0
if "--resume" in sys.argv and ck.exists():
    s = torch.load(ck, weights_only=True)
    model.load_state_dict(s["model"])
    opt.load_state_dict(s["opt"])
    step = s["step"]
while step < config["steps"]:
    g = torch.Generator().manual_seed(1000 * config["seed"] + step)
    x = torch.randn(16, 8, generator=g)
    loss = torch.nn.functional.mse_loss(model(x), x[:, :4] * 2)
    opt.zero_grad()
    loss.backward()
    opt.step()
    step += 1
    if config["norm"]:
        with torch.no_grad():  # unit rows after every step
            for m in (model[0], model[2]):
                m.weight.div_(m.weight.norm(dim=1, keepdim=True))
    if step % 4 == 0:
        sd = model.state_dict()
        if config["bug"]:
            sd = {k: v.bfloat16() for k, v in sd.items()}  # weights kept in half the bytes
        torch.save({"model": sd, "opt": opt.state_dict(), "step": step}, out / "c.tmp")
        os.replace(out / "c.tmp", ck)
save_file(model.state_dict(), out / "model.safetensors")
