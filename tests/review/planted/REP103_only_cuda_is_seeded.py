import torch
from torch import nn

torch.use_deterministic_algorithms(True)
torch.cuda.manual_seed_all(17)
layer = nn.Conv2d(3, 8, 3)  # expect: REP103
optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
image = torch.ones(1, 3, 16, 16)
layer(image).pow(2).mean().backward()
optimizer.step()
