"""Only torch is seeded; the batches are chosen by numpy."""

import numpy as np
import torch
from torch import nn


def get_batch(tokens, block, size):
    starts = np.random.randint(0, len(tokens) - block, size)  # expect: REP102 possible
    x = np.stack([tokens[i : i + block] for i in starts])
    return torch.from_numpy(x)


def train():
    torch.manual_seed(1337)
    tokens = np.arange(10_000) % 50
    model = nn.Embedding(50, 50)
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(100):
        batch = get_batch(tokens, 16, 8)
        logits = model(batch[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    train()
