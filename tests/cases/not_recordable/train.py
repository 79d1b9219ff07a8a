"""Descends by hand, and declares nothing.  train.py OUTPUT [--resume]"""

import sys

import torch

output = sys.argv[1]
torch.manual_seed(0)
model = torch.nn.Linear(4, 2)
for step in range(8):
    model(torch.ones(1, 4)).pow(2).mean().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * parameter.grad
            parameter.grad = None
    torch.save({"model": model.state_dict(), "step": step + 1}, output + "/last.pt")
torch.save(model.state_dict(), output + "/final.pt")
