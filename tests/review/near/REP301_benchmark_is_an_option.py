import argparse

import torch

parser = argparse.ArgumentParser()
parser.add_argument("--benchmark", action="store_true", help="faster, and not the same twice")
args = parser.parse_args()

torch.manual_seed(5)
torch.backends.cudnn.deterministic = True
torch.backends.cudnn.benchmark = args.benchmark
