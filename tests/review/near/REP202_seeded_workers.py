import random

import numpy as np
import torch
from torch.utils.data import DataLoader


def seed_worker(worker_id):
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)


def loaders(data, seed, workers):
    generator = torch.Generator().manual_seed(seed)
    train = DataLoader(
        data, shuffle=True, generator=generator, num_workers=workers, worker_init_fn=seed_worker
    )
    return train, DataLoader(data, num_workers=0)
