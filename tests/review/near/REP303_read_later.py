"""What is read with the first product on a GPU, or the first group of processes, is set in time here."""

import os

import torch

os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
os.environ["NCCL_ALGO"] = "Ring"
torch.manual_seed(1)
torch.use_deterministic_algorithms(True)
