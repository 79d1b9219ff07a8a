"""Two ranks, of which the second forgets its generator on a resume.  torchrun ... train.py OUTPUT [--resume]"""

import os
import sys

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
rank = dist.get_rank()
output, checkpoint = sys.argv[1], sys.argv[1] + "/last.pt"
torch.manual_seed(rank)
network = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2))
model = torch.nn.parallel.DistributedDataParallel(network)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
first = 0
if "--resume" in sys.argv:
    state = torch.load(checkpoint)
    network.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    first = state["step"]
    if rank == 0:
        torch.set_rng_state(state["rng"])
for step in range(first, 8):
    optimizer.zero_grad()
    model(torch.randn(4, 8, generator=torch.Generator().manual_seed(step))).pow(2).mean().backward()
    optimizer.step()
    if step % 2 and rank == 0:
        state = {"model": network.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
        torch.save({**state, "rng": torch.get_rng_state()}, checkpoint + ".tmp")
        os.replace(checkpoint + ".tmp", checkpoint)
    dist.barrier()
if rank == 0:
    torch.save(network.state_dict(), output + "/final.pt")
dist.destroy_process_group()
