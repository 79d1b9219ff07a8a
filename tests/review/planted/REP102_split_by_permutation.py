import numpy as np
import torch
from torch import nn

torch.manual_seed(3)
features = torch.randn(200, 5)
targets = torch.randn(200, 1)
order = np.random.permutation(200)  # expect: REP102
train, valid = order[:160], order[160:]
model = nn.Linear(5, 1)
optimizer = torch.optim.Adam(model.parameters())
for _ in range(20):
    loss = (model(features[train]) - targets[train]).pow(2).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
print(float((model(features[valid]) - targets[valid]).pow(2).mean()))
