import lightning as L
import torch
from torch import nn


def main(seed: int = 1337):
    torch.use_deterministic_algorithms(True)
    fabric = L.Fabric(accelerator="cpu")
    fabric.seed_everything(seed)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    model, optimizer = fabric.setup(model, optimizer)
    loss = model(torch.randn(8, 4)).mean()
    fabric.backward(loss)
    optimizer.step()


if __name__ == "__main__":
    main()
