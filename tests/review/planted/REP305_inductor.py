import torch
import torch._inductor.config

torch.manual_seed(2)
torch._inductor.config.max_autotune = True  # expect: REP305
model = torch.compile(torch.nn.Linear(8, 8))
