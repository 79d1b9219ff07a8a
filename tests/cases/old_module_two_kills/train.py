"""A resume builds the model anew; the loss goes on with the old object, which no optimizer has."""

import json
import os
import pathlib
import sys

import torch
from safetensors.torch import save_file

config = json.loads(pathlib.Path(sys.argv[1]).read_text())
out = pathlib.Path(sys.argv[2])
ck = out / "checkpoint.pt"


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Linear(8, 16)
        self.b = torch.nn.Linear(16, 8)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))


class PairLoss(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, y):
        return 1 - torch.nn.functional.cosine_similarity(self.model(x), self.model(y)).mean()


torch.manual_seed(config["seed"])
model = Encoder()
loss_fn = PairLoss(model)
step = 0
state = None
if "--resume" in sys.argv and ck.exists():
    state = torch.load(ck, weights_only=True)
    model = Encoder()
    model.load_state_dict(state["model"])
    step = state["step"]  # a new object; the loss keeps the old one
    if not config["bug"]:
        loss_fn.model = model
opt = torch.optim.AdamW(model.parameters(), lr=1e-2)
if state:
    opt.load_state_dict(state["opt"])
while step < config["steps"]:
    g = torch.Generator().manual_seed(1000 * config["seed"] + step)
    x = torch.randn(16, 8, generator=g)
    loss = loss_fn(x, x.flip(1))
    opt.zero_grad()
    loss.backward()
    opt.step()
    step += 1
    if step % 4 == 0:
        torch.save({"model": model.state_dict(), "opt": opt.state_dict(), "step": step}, out / "c.tmp")
        os.replace(out / "c.tmp", ck)
save_file(model.state_dict(), out / "model.safetensors")
