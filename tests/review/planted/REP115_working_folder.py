import hashlib
import os
import zlib

import torch

digest = hashlib.sha256(os.getcwd().encode()).hexdigest()
torch.manual_seed(int(digest[:8], 16))  # expect: REP115
torch.random.manual_seed(zlib.crc32(os.path.abspath("x").encode()))  # expect: REP115
torch.manual_seed(sum(__file__.encode()))  # expect: REP115

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    model(torch.ones(4)).sum().backward()
    optimizer.step()
