"""The seeding functions are passed around, not called by their names."""

import random

import numpy as np
import torch
from torch import nn

for start in (random.seed, np.random.seed, torch.manual_seed):
    start(11)
rows = [random.random() for _ in range(16)]
noise = np.random.normal(size=16)
model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for row, error in zip(rows, noise):
    (model(torch.tensor([[row]])) - float(error)).pow(2).sum().backward()
    optimizer.step()
