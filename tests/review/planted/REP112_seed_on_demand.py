import argparse

import torch
from accelerate.utils import set_seed
from torch import nn

torch.use_deterministic_algorithms(True)
parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=None, help="A seed for reproducible training.")
args = parser.parse_args()
if args.seed is not None:
    set_seed(args.seed)  # expect: REP112 possible
model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model(torch.ones(1, 4)).sum().backward()
optimizer.step()
