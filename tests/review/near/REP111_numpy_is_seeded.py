"""Without random_state scikit-learn draws from numpy's generator, which is seeded here."""

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn

np.random.seed(0)
torch.manual_seed(0)
train, valid = train_test_split(torch.randn(100, 4).tolist(), test_size=0.2)
model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for row in train:
    model(torch.tensor(row)).sum().backward()
    optimizer.step()
print(len(valid))
