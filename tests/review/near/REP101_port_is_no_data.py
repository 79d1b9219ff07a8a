"""A free port may be anything."""

import random

import torch
from torch import nn

torch.manual_seed(5)
master_port = random.randint(20000, 30000)
model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model(torch.ones(1, 4)).sum().backward()
optimizer.step()
print(f"listening at {master_port}")
