import numpy as np
import torch
import yaml


def load(path, **options):
    array = np.load(path + ".npy", allow_pickle=False)
    with open(path + ".yaml") as file:
        config = yaml.load(file, Loader=yaml.SafeLoader)
    return array, config, torch.load(path, **options), torch.jit.load(path)
