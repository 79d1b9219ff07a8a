import os

import numpy as np
import torch

SEED = 7


def seed_worker(worker_id):
    np.random.seed(torch.initial_seed() % 2**32 + worker_id)


torch.manual_seed(SEED + int(os.environ.get("RANK", "0")))
print(f"process {os.getpid()} on {os.uname().nodename}", seed_worker)

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    model(torch.ones(4)).sum().backward()
    optimizer.step()
