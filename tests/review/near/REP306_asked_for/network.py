import torch
from torch import nn


class Segments(nn.Module):
    """Sums the rows of each segment."""

    def __init__(self):
        super().__init__()
        self.project = nn.Linear(8, 16)

    def forward(self, x):
        index = torch.arange(len(x), device=x.device) // 2
        sums = torch.zeros(len(x) // 2, 16, device=x.device)
        return sums.index_add_(0, index, self.project(x))
