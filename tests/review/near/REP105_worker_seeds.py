"""What torch gave a worker is no entropy: it comes from the loader's generator."""

import random
import time

import numpy as np
import torch


def seed_worker(worker_id):
    seed = torch.initial_seed() % 2**32
    np.random.seed(seed)
    random.seed(seed)


started = time.time()
torch.manual_seed(1337)
print(f"took {time.time() - started:.1f} s")
