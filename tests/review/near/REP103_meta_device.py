"""Nothing is drawn on the meta device; the weights come from a file."""

import torch
from torch import nn

torch.use_deterministic_algorithms(True)
with torch.device("meta"):
    model = nn.Linear(8, 8)
model = model.to_empty(device="cpu")
model.load_state_dict(torch.load("weights.pt", weights_only=True))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    model(torch.ones(2, 8)).sum().backward()
    optimizer.step()
