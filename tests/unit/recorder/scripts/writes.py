"""Train two steps and write a checkpoint of about 404 kB in the way that the first argument names."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file


def write(way: str, folder: Path, state: dict) -> None:
    folder.mkdir()
    try:
        if way == "path":
            torch.save(state, folder / "checkpoint.pt")
        elif way == "legacy":
            torch.save(state, str(folder / "checkpoint.pt"), _use_new_zipfile_serialization=False)
        elif way == "file":
            with (folder / "checkpoint.pt").open("wb") as file:
                torch.save(state, file)
        else:
            save_file(state, filename=folder / "model.safetensors", metadata={"format": "pt"})
    finally:
        print("cleaned up", flush=True)


torch.manual_seed(0)
model = torch.nn.Linear(100, 1000)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(2):
    model(torch.randn(2, 100)).sum().backward()
    optimizer.step()
for chosen in ["path", "legacy", "file", "safetensors"] if sys.argv[1] == "all" else [sys.argv[1]]:
    write(chosen, Path(sys.argv[2]) / chosen, model.state_dict())
