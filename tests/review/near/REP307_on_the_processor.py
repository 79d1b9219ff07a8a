import torch
from torch import nn

torch.manual_seed(17)
model = nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
for step in range(100):
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(1000 + step))
    loss = model(x).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
