import torch
from torch import nn


def main(path=None):
    if path is None:
        torch.manual_seed(0)
    model = nn.Linear(4, 4)
    if path is not None:
        torch.set_rng_state(torch.load(path, weights_only=True)["rng"])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(2, 4)).sum().backward()
    optimizer.step()


if __name__ == "__main__":
    main()
