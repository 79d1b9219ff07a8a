import torch
from torch import nn

torch.manual_seed(17)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1)).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

for step in range(100):
    draw = torch.Generator().manual_seed(1000 + step)
    x = torch.randn(4, 8, generator=draw).to(device)
    loss = model(x).square().mean()
    loss.backward()  # expect: REP307
    optimizer.step()
    optimizer.zero_grad()
