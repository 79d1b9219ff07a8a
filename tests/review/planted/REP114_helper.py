import os

import torch


def fresh_seed():
    return os.uname().nodename.__hash__() % 1000


torch.manual_seed(fresh_seed())  # expect: REP114

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    model(torch.ones(4)).sum().backward()
    optimizer.step()
