import json

import torch


def load(path, trusted):
    weights = torch.load(path, map_location="cpu", weights_only=True)
    other = torch.load(path, map_location="cpu", weights_only=not trusted)
    with open(path + ".json") as file:
        return weights, other, json.load(file)
