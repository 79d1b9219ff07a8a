import argparse
import random
import secrets

import torch

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
random.seed()  # expect: REP105
torch.manual_seed(args.seed or secrets.randbelow(2**31))  # expect: REP105 possible
print(random.random(), torch.rand(1))
