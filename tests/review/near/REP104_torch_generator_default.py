"""torch.Generator() begins with a fixed seed, 67280421310721."""

import torch

generator = torch.Generator()
print(torch.randperm(10, generator=generator))
