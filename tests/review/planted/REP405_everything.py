import torch


def load(path):
    return torch.load(path, map_location="cpu", weights_only=False)  # expect: REP405
