"""What is saved is named elsewhere: nobody can say that the optimizer is not among it."""

import torch
from torch import nn


class Trainer:
    parts = ("model", "optimizer")

    def __init__(self):
        torch.manual_seed(17)
        self.model = nn.Linear(8, 1)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)

    def train(self):
        for step in range(100):
            loss = self.model(torch.ones(4, 8)).square().mean()
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            if step % 10 == 0:
                torch.save({name: getattr(self, name).state_dict() for name in self.parts} | {"step": step}, "last.pt")
                torch.save({name: one.state_dict() for name, one in self.members().items()}, "parts.pt")
        torch.save(self.model.state_dict(), "final.pt")

    def members(self):
        return {name: getattr(self, name) for name in self.parts}


Trainer().train()
