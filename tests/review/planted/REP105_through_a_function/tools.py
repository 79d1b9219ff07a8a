import random

import torch


def set_all_seeds(seed):
    random.seed(seed)
    torch.manual_seed(seed)
