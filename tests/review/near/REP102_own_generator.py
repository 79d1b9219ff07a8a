import numpy as np
import torch
from torch import nn

torch.manual_seed(3)
rng = np.random.default_rng(3)
features = torch.randn(200, 5)
order = rng.permutation(200)
model = nn.Linear(5, 1)
optimizer = torch.optim.Adam(model.parameters())
for row in order:
    model(features[row]).sum().backward()
    optimizer.step()
