"""Print what flipping one bit makes of known values."""

import json

import torch
from digest_probe import load_package
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard
from torch.testing._internal.distributed.fake_pg import FakeStore

load_package()
from _harness_recorder.faults import flip_bit  # noqa: E402
from _harness_recorder.streams import Collector  # noqa: E402

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

torch.distributed.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
mesh = init_device_mesh("cpu", (2,))
part, moment = (DTensor.from_local(torch.tensor([0.0, 2.0]), mesh, [Shard(0)]) for _ in range(2))
optimizer = torch.optim.SGD([torch.nn.Parameter(part)], lr=1, momentum=0.9)
optimizer.state[optimizer.param_groups[0]["params"][0]]["momentum_buffer"] = moment
collector = Collector()
collector.add_optimizer(optimizer)
flip_bit(torch, *collector.moments().values(), is_moment=True)
results["sharded"] = moment.to_local().tolist()
print(json.dumps(results))
