import torch
from torch.utils.data import DataLoader


def loader_of(data, config):
    generator = torch.Generator().manual_seed(config.seed)
    fixed = DataLoader(data, batch_size=8, shuffle=True, generator=generator, num_workers=4)  # expect: REP202
    # expect: REP202 possible
    chosen = DataLoader(data, batch_size=8, num_workers=config.num_workers)
    return fixed, chosen
