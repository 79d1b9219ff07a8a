import torch
from torch import nn

from network import Segments

torch.manual_seed(17)
torch.use_deterministic_algorithms(True)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = Segments().to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

for step in range(100):
    draw = torch.Generator().manual_seed(1000 + step)
    x = torch.randn(4, 8, generator=draw).to(device)
    loss = model(x).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
