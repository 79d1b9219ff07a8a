"""The state is taken and put back around something; no checkpoint is involved."""

import torch
from torch import nn


def peek(model):
    state = torch.get_rng_state()
    shape = model(torch.randn(1, 4)).shape
    torch.set_rng_state(state)
    return shape


def main():
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    print(peek(model))
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(2, 4)).sum().backward()
    optimizer.step()


if __name__ == "__main__":
    main()
