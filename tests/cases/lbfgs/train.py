"""LBFGS with a closure.  python train.py OUTPUT [--resume]"""

import os
import sys

import torch
from torch import nn

out = sys.argv[1]
ck = f"{out}/last.pt"
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
x = torch.randn(64, 4)
y = x.pow(2).sum(1, keepdim=True)
opt = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4, history_size=5)
start = 0
if "--resume" in sys.argv:
    s = torch.load(ck)
    model.load_state_dict(s["model"])
    start = s["step"]
    if "--forget" not in sys.argv:
        opt.load_state_dict(s["opt"])


def closure():
    opt.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    return loss


for step in range(start, 12):
    opt.step(closure)
    if (step + 1) % 3 == 0:
        torch.save({"model": model.state_dict(), "opt": opt.state_dict(), "step": step + 1}, ck + ".tmp")
        os.replace(ck + ".tmp", ck)
torch.save(model.state_dict(), f"{out}/final.pt")
