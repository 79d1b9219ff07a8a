"""Switches of a training on images."""

import torch
import torch.backends.cudnn as cudnn


def prepare(seed):
    torch.manual_seed(seed)
    cudnn.deterministic = True
    cudnn.benchmark = True  # expect: REP301
