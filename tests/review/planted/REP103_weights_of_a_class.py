"""Python and numpy are seeded; the weights are torch's."""

import random

import numpy as np
import torch
import torch.nn as nn


class Regressor(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.Linear(4, width)  # expect: REP103
        self.outer = nn.Linear(width, 1)

    def forward(self, x):
        return self.outer(torch.relu(self.inner(x)))


def main():
    random.seed(0)
    np.random.seed(0)
    model = Regressor(16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.from_numpy(np.random.rand(32, 4)).float()
    for _ in range(10):
        loss = model(x).pow(2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    main()
