"""Each row has one index, so no two additions meet in one place: their order is no question."""

import torch
from torch import nn


class Bumped(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(16, 32)

    def forward(self, x, ids):
        logits = self.head(x)
        return logits.scatter_add(2, ids.unsqueeze(-1), torch.ones_like(logits[:, :, :1]))


def train(steps):
    torch.manual_seed(3)
    model = Bumped().to("cuda")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = torch.Generator().manual_seed(4)
    for _ in range(steps):
        x = torch.randn(4, 8, 16, generator=data).to("cuda")
        ids = torch.randint(0, 32, (4, 8), generator=data).to("cuda")
        model(x, ids).square().mean().backward()  # expect: REP307
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    train(100)
