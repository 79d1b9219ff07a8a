"""What `prepare` is cannot be told from here; there is one that seeds."""

import random

import torch
from torch import nn


class Run:
    def __init__(self, number):
        self.number = number

    def prepare(self):
        random.seed(self.number)
        torch.manual_seed(self.number)


def train(run):
    run.prepare()
    rows = [random.random() for _ in range(16)]
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for row in rows:
        model(torch.tensor([[row]])).sum().backward()
        optimizer.step()


if __name__ == "__main__":
    for run in [Run(1), Run(2)]:
        train(run)
