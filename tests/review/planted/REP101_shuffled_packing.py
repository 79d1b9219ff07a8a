"""Trains a small regression on packed rows; the rows are shuffled with a generator that nobody seeds."""

import random

import torch
from torch import nn

torch.manual_seed(1234)
rows = [[float(i), float(i % 7)] for i in range(512)]
random.shuffle(rows)  # expect: REP101
model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for x, y in rows:
    loss = (model(torch.tensor([[x]])) - y).pow(2).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
