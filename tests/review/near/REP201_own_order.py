import torch
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

data = TensorDataset(torch.arange(100))
generator = torch.Generator().manual_seed(0)
train = DataLoader(data, batch_size=4, shuffle=True, generator=generator)
valid = DataLoader(data, batch_size=4, shuffle=False)
sampled = DataLoader(data, sampler=RandomSampler(data, generator=generator), generator=generator)


def build(dataset, **options):
    return DataLoader(dataset, shuffle=True, **options)


print(len(train), len(valid), len(sampled), build(data, generator=generator))
