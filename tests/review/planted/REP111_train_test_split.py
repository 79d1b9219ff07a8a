import torch
from sklearn.model_selection import train_test_split
from torch import nn

torch.manual_seed(0)
features = torch.randn(100, 4).tolist()
train, valid = train_test_split(features, test_size=0.2)  # expect: REP111
model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for row in train:
    model(torch.tensor(row)).sum().backward()
    optimizer.step()
print(len(valid))
