import torch
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

torch.manual_seed(0)
data = TensorDataset(torch.arange(100))
train = DataLoader(data, batch_size=4, shuffle=True)  # expect: REP201
sampler = RandomSampler(data)
other = DataLoader(data, batch_size=4, sampler=sampler)  # expect: REP201
print(len(train), len(other))
