"""fp16 autocast and GradScaler on a CPU.  python train.py OUTPUT [--resume]"""

import os
import sys

import torch
from torch import nn

out = sys.argv[1]
ck = f"{out}/last.pt"
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 4))
opt = torch.optim.AdamW(model.parameters(), lr=1e-2)
start = 0
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24, growth_interval=4)
if "--resume" in sys.argv:
    s = torch.load(ck)
    model.load_state_dict(s["model"])
    opt.load_state_dict(s["opt"])
    start = s["step"]
    if "--forget" not in sys.argv:
        scaler.load_state_dict(s["scaler"])
for step in range(start, 20):
    g = torch.Generator().manual_seed(step)
    x = torch.randn(8, 16, generator=g)
    opt.zero_grad()
    with torch.autocast("cpu", dtype=torch.float16):
        loss = nn.functional.cross_entropy(model(x).float(), x[:, :4].argmax(1))
    scaler.scale(loss).backward()
    scaler.unscale_(opt)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(opt)
    scaler.update()
    if (step + 1) % 5 == 0:
        torch.save(
            {"model": model.state_dict(), "opt": opt.state_dict(), "scaler": scaler.state_dict(), "step": step + 1},
            ck + ".tmp",
        )
        os.replace(ck + ".tmp", ck)
torch.save(model.state_dict(), f"{out}/final.pt")
