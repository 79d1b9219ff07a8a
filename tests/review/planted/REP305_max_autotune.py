import torch
from torch import nn

torch.manual_seed(2)
model = nn.Linear(64, 64)
model = torch.compile(model, mode="max-autotune")  # expect: REP305
