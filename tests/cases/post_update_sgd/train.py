"""Weights are normalised after the optimizer's step (or clamped, or swapped with an average)."""

import json
import os
import pathlib
import sys

import torch
from safetensors.torch import save_file

c = json.loads(pathlib.Path(sys.argv[1]).read_text())
out = pathlib.Path(sys.argv[2])
ck = out / "c.pt"
torch.manual_seed(1)
m = torch.nn.Linear(8, 4)
o = torch.optim.AdamW(m.parameters(), lr=0.01) if c["adamw"] else torch.optim.SGD(m.parameters(), lr=0.01, momentum=0.9)
n = 0
if "--resume" in sys.argv and ck.exists():
    s = torch.load(ck)
    m.load_state_dict(s["m"])
    o.load_state_dict(s["o"])
    n = s["n"]
while n < 16:
    x = torch.randn(16, 8, generator=torch.Generator().manual_seed(n))
    o.zero_grad()
    (m(x) - x[:, :4]).square().mean().backward()
    o.step()
    n += 1
    with torch.no_grad():
        m.weight.div_(m.weight.norm(dim=1, keepdim=True))
    if n % 4 == 0:
        torch.save({"m": m.state_dict(), "o": o.state_dict(), "n": n}, out / "t")
        os.replace(out / "t", ck)
save_file(m.state_dict(), out / "model.safetensors")
