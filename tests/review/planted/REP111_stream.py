import torch
from datasets import load_dataset
from torch import nn

torch.manual_seed(0)
revision = "3333333333333333333333333333333333333333"
stream = load_dataset("allenai/c4", "en", split="train", streaming=True, revision=revision)
stream = stream.shuffle(buffer_size=10_000)  # expect: REP111
model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for example in stream.take(100):
    model(torch.tensor([float(len(example["text"]))])).sum().backward()
    optimizer.step()
