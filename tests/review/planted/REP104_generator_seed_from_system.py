import torch

generator = torch.Generator()
generator.seed()  # expect: REP104
print(torch.randperm(10, generator=generator))
