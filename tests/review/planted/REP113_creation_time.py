import os

import torch

torch.manual_seed(0)
torch.manual_seed(os.stat(__file__).st_ctime_ns % 2**31)  # expect: REP113

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    model(torch.ones(4)).sum().backward()
    optimizer.step()
