"""The seed of each epoch is its number's: no state is carried over that could be lost."""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Linear(4, 4)
state = torch.load("checkpoint.pt", weights_only=True)
model.load_state_dict(state["model"])
torch.set_rng_state(state["rng"])
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(state["epoch"], 10):
    torch.manual_seed(1000 + epoch)
    model(torch.randn(2, 4)).sum().backward()
    optimizer.step()
