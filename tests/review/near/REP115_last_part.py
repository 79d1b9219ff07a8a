import os
import zlib
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
config = {"seed": zlib.crc32(Path(__file__).stem.encode())}
torch.manual_seed(config["seed"])
torch.manual_seed(zlib.crc32(os.path.basename(os.getcwd()).encode()))
with open(HERE / "seed.txt") as stream:
    torch.manual_seed(int(stream.read()))

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    model(torch.ones(4)).sum().backward()
    optimizer.step()
