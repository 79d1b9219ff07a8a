"""A training that a shell script starts.  run.sh OUTPUT [--resume]"""

import os
import sys

import torch

output, checkpoint = sys.argv[1], sys.argv[1] + "/last.pt"
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Dropout(0.1), torch.nn.Linear(8, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
first = 0
if "--resume" in sys.argv:
    state = torch.load(checkpoint)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    first = state["step"]
for step in range(first, 8):
    optimizer.zero_grad()
    model(torch.randn(4, 8, generator=torch.Generator().manual_seed(step))).pow(2).mean().backward()
    optimizer.step()
    if step % 2:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
        torch.save({**state, "rng": torch.get_rng_state()}, checkpoint + ".tmp")
        os.replace(checkpoint + ".tmp", checkpoint)
torch.save(model.state_dict(), output + "/final.pt")
