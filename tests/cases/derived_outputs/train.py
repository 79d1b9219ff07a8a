"""An average that a checkpoint holds, and an export in half precision that is declared."""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

output, is_resumed = Path(sys.argv[1]), "--resume" in sys.argv
torch.manual_seed(1)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 1))
ema = {name: tensor.clone() for name, tensor in model.state_dict().items()}
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
step = 0
if is_resumed:
    state = torch.load(output / "last.ckpt", weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    step = state["step"]
    ema = state["ema"]
while step < 8:
    x = torch.rand(16, 4, generator=torch.Generator().manual_seed(step))
    loss = torch.nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    step += 1
    for name, tensor in model.state_dict().items():
        ema[name].mul_(0.9).add_(tensor, alpha=0.1)
    if step % 2 == 0:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "ema": ema}
        torch.save(state, output / "tmp")
        os.replace(output / "tmp", output / "last.ckpt")
save_file(ema, output / "ema.safetensors")
save_file({name: tensor.half() for name, tensor in model.state_dict().items()}, output / "half.safetensors")
