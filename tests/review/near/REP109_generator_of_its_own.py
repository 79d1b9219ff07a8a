import torch
from torch import nn

torch.manual_seed(1337)
data = {"train": torch.randn(1000), "val": torch.randn(100)}
model = nn.Linear(8, 1)


def get_batch(split, generator):
    source = data[split]
    at = torch.randint(len(source) - 8, (4,), generator=generator)
    return torch.stack([source[i : i + 8] for i in at])


@torch.no_grad()
def estimate_loss():
    generator = torch.Generator().manual_seed(99)
    return sum(model(get_batch("val", generator)).mean().item() for _ in range(10)) / 10


optimizer = torch.optim.AdamW(model.parameters())
batches = torch.Generator().manual_seed(1337)
for step in range(100):
    if step % 25 == 0:
        print(step, estimate_loss())
    model(get_batch("train", batches)).pow(2).mean().backward()
    optimizer.step()
    optimizer.zero_grad()
