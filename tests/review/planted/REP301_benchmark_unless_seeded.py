import argparse

import torch
from torch.backends import cudnn

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int)


def set_up(args):
    if args.seed is not None:
        torch.manual_seed(args.seed)
        cudnn.deterministic = True
    else:
        cudnn.benchmark = True  # expect: REP301 possible
