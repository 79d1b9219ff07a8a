import random

import torch


def fix_seeds(seed):
    random.seed(seed)
    torch.manual_seed(seed)
