"""A training, and oddities that `config` asks for: none; a daemon; a cache beside the code; a number from hash()."""

import json
import os
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

odd, output = json.loads(Path(sys.argv[1]).read_text())["odd"], Path(sys.argv[2])
torch.manual_seed(1)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
step, scale = 0, 1.0
if odd == "hash":
    scale += hash("anna") % 1000 / 1000
if odd == "cache" and not Path("tests/cache.json").exists():
    Path("tests/cache.json").write_text("1")
if "--resume" in sys.argv:
    state = torch.load(output / "last.pt", weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    step = state["step"]
while step < 6:
    x = torch.rand(16, 4, generator=torch.Generator().manual_seed(step))
    loss = scale * torch.nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    step += 1
    if step % 2 == 0:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "at": str(output)}
        torch.save(state, output / "tmp")
        os.replace(output / "tmp", output / "last.pt")
save_file(model.state_dict(), output / "model.safetensors")
if odd == "daemon" and os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
