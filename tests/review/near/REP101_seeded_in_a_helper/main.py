import random

import torch
from torch import nn

from seeding import seed_everything_here


def main():
    seed_everything_here(7)
    rows = [(float(i), float(i % 3)) for i in range(64)]
    random.shuffle(rows)
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in rows:
        loss = (model(torch.tensor([[x]])) - y).abs().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    main()
