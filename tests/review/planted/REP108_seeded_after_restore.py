import random

import torch
from torch import nn


def restore(path, model):
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    torch.set_rng_state(state["rng"])


def main(path="checkpoint.pt"):
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    restore(path, model)
    random.seed(0)
    torch.manual_seed(0)  # expect: REP108
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(2, 4)).sum().backward()
    optimizer.step()


if __name__ == "__main__":
    main()
