"""A training loop that answers signals in one of the ways in which people write it: `answers.py WAY OUTPUT`."""

import signal
import sys
from pathlib import Path

import torch

WAY, OUTPUT = sys.argv[1], Path(sys.argv[2])
torch.manual_seed(0)
model = torch.nn.Linear(8, 2)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
asked = []


def save(name: str) -> None:
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, OUTPUT / name)


def save_inside(_number: int, _frame: object) -> None:
    with torch.no_grad():
        model(torch.zeros(1, 8))
    save("inside.pt")
    sys.exit(3)


def interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


HANDLERS = {"flag": lambda *_: asked.append(1), "inside": save_inside, "raises": interrupt, "ignored": signal.SIG_IGN}
if WAY in HANDLERS:
    signal.signal(signal.SIGTERM, HANDLERS[WAY])
try:
    for _step in range(6):
        for _micro in range(2):
            model(torch.randn(4, 8)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        if asked:
            save("flag.pt")
            sys.exit(0)
except KeyboardInterrupt:
    save("caught.pt")
    sys.exit(130)
