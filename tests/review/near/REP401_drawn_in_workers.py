"""Augmented in the data's workers, whose generators begin anew in every epoch."""

import os
import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Augmented(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, index):
        return torch.full((8,), float(index)) + random.random() + np.random.rand()


def seed_worker(_):
    random.seed(torch.initial_seed() % 2**32)
    np.random.seed(torch.initial_seed() % 2**32)


torch.manual_seed(17)
model = nn.Linear(8, 1)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
first = 0
if os.path.exists("latest.pt"):
    state = torch.load("latest.pt", weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    first = state["epoch"]
for epoch in range(first, 10):
    order = torch.Generator().manual_seed(epoch)
    for batch in DataLoader(
        Augmented(), batch_size=4, num_workers=2, worker_init_fn=seed_worker, generator=order, shuffle=True
    ):
        model(batch).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
    torch.save(state, "latest.tmp")
    os.replace("latest.tmp", "latest.pt")
