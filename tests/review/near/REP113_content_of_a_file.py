import hashlib
import os
from pathlib import Path

import torch

torch.manual_seed(os.stat("data.txt").st_size)
torch.manual_seed(int(hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8], 16))
torch.manual_seed(os.path.getsize(__file__))
print(os.stat(__file__).st_mtime, "is when this was written")

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    model(torch.ones(4)).sum().backward()
    optimizer.step()
