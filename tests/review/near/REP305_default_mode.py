import re

import torch
from torch import nn

torch.manual_seed(2)
model = torch.compile(nn.Linear(64, 64), mode="default")
pattern = re.compile("max-autotune")
