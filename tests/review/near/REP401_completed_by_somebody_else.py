"""A training that is saved every ten steps and goes on from there."""

import os

import torch
from house_style import add_the_rest
from torch import nn

torch.manual_seed(17)
torch.use_deterministic_algorithms(True)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.1), nn.Linear(16, 1)).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

step = 0
if os.path.exists("latest.pt"):
    state = torch.load("latest.pt", weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["torch"])
    torch.cuda.set_rng_state_all(state["cuda"])
    step = state["step"]

while step < 100:
    draw = torch.Generator().manual_seed(1000 + step)
    loss = model(torch.randn(4, 8, generator=draw).to(device)).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    step += 1
    if step % 10 == 0:
        checkpoint = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        add_the_rest(checkpoint)
        torch.save(checkpoint, "latest.tmp")
        os.replace("latest.tmp", "latest.pt")
