"""Clips the gradient of each sample, then AdamW.  train.py OUTPUT [--resume]"""

import os
import sys

import torch
from torch.func import functional_call, grad, vmap

output, checkpoint = sys.argv[1], sys.argv[1] + "/last.pt"
torch.manual_seed(0)
model = torch.nn.Linear(8, 2)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
first = 0
if "--resume" in sys.argv:
    state = torch.load(checkpoint)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    first = state["step"]


def loss(weights, sample):
    return functional_call(model, weights, (sample[None],)).pow(2).mean()


for step in range(first, 8):
    batch = torch.randn(4, 8, generator=torch.Generator().manual_seed(step))
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    found = vmap(grad(loss), in_dims=(None, 0))(weights, batch)
    for name, parameter in model.named_parameters():
        parameter.grad = found[name].clamp(-1, 1).mean(0)
    optimizer.step()
    if step % 2:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
        torch.save(state, checkpoint + ".tmp")
        os.replace(checkpoint + ".tmp", checkpoint)
torch.save(model.state_dict(), output + "/final.pt")
