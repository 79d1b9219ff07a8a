import os

import torch
from torch import nn

torch.manual_seed(17)
torch.use_deterministic_algorithms(True)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1)).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

for step in range(100):
    draw = torch.Generator().manual_seed(1000 + step)
    x = torch.randn(4, 8, generator=draw).to(device)
    loss = model(x).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if step % 10 == 9:
        torch.save(model.state_dict(), "weights.tmp")  # expect: REP402
        os.replace("weights.tmp", f"weights{step:04d}.pt")
