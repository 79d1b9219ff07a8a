import torch
from torch import nn
from torch.nn import functional as F


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.project = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, x):
        small = self.project(x.view(len(x), 1, 2, 4))
        return F.interpolate(small, scale_factor=2, mode="nearest")


torch.manual_seed(17)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = Decoder().to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

for step in range(100):
    draw = torch.Generator().manual_seed(1000 + step)
    x = torch.randn(4, 8, generator=draw).to(device)
    loss = model(x).square().mean()
    loss.backward()  # expect: REP307
    optimizer.step()
    optimizer.zero_grad()
