"""The line was mended, the comment stayed."""

import torch

torch.manual_seed(0)
weights = torch.ones(3)  # harness: allow REP101 the weights are drawn before the seed is known  # expect: REP002
