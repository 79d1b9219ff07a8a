"""Print what flipping one bit makes of known values."""

import json

import torch
from digest_probe import load_package

load_package()
from _harness_recorder.faults import flip_bit  # noqa: E402

results = {}
for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
    tensor = torch.tensor([0.0, 2.0, 2.0], dtype=dtype)
    flip_bit(torch, tensor, is_moment=True)
    results[str(dtype).removeprefix("torch.")] = tensor.tolist()
transposed = torch.nn.Parameter(torch.tensor([[0.0, 0.0], [2.0, 1.0]]).t())
flip_bit(torch, transposed, is_moment=True)
results["transposed"] = transposed.tolist()
scalar = torch.tensor(2.0)
flip_bit(torch, scalar, is_moment=True)
results["scalar"] = scalar.item()
lowest = torch.tensor([0.0, 1.0])
flip_bit(torch, lowest, is_moment=False)
results["lowest"] = [lowest.view(torch.int32)[0].item(), lowest[1].item()]
weight = torch.nn.Parameter(torch.ones(2, 2))
waiting = (torch.ones(2, requires_grad=True) @ weight).sum()
flip_bit(torch, weight, is_moment=False)
waiting.backward()
results["waiting graph"] = weight.grad.tolist()
print(json.dumps(results))
