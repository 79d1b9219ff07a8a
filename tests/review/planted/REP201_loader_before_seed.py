import torch
from torch.utils.data import DataLoader, TensorDataset

data = TensorDataset(torch.arange(32.0)[:, None])
loader = DataLoader(data, batch_size=4, shuffle=True)  # expect: REP201
torch.manual_seed(0)
model = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for (batch,) in loader:
    model(batch).sum().backward()
    optimizer.step()
