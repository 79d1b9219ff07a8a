import random

import torch
from torch import nn

torch.manual_seed(5)
order = random.Random(5)
rows = list(range(32))
order.shuffle(rows)
model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for row in rows:
    model(torch.tensor([[float(row)]])).sum().backward()
    optimizer.step()
