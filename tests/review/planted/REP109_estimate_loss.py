import torch
from torch import nn

torch.manual_seed(1337)
data = {"train": torch.randn(1000), "val": torch.randn(100)}
model = nn.Linear(8, 1)


def get_batch(split):
    source = data[split]
    at = torch.randint(len(source) - 8, (4,))
    return torch.stack([source[i : i + 8] for i in at])


@torch.no_grad()
def estimate_loss():
    model.eval()
    losses = []
    for _ in range(10):
        batch = get_batch("val")  # expect: REP109
        losses.append(model(batch).mean().item())
    model.train()
    return sum(losses) / len(losses)


optimizer = torch.optim.AdamW(model.parameters())
for step in range(100):
    if step % 25 == 0:
        print(step, estimate_loss())
    loss = model(get_batch("train")).pow(2).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
