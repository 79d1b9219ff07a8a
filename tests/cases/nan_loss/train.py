"""The loss is NaN from the first step on."""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

output, is_resumed = Path(sys.argv[1]), "--resume" in sys.argv
torch.manual_seed(1)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
step = 0
if is_resumed:
    state = torch.load(output / "last.ckpt", weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    step = state["step"]
while step < 8:
    x = torch.rand(16, 4, generator=torch.Generator().manual_seed(step))
    loss = torch.nn.functional.mse_loss(model(x), x.sum(1, keepdim=True)) * float("nan")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    step += 1
    if step % 2 == 0:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        torch.save(state, output / "tmp")
        os.replace(output / "tmp", output / "last.ckpt")
save_file(model.state_dict(), output / "model.safetensors")
