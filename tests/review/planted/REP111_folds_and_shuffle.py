import torch
from sklearn.model_selection import KFold
from sklearn.utils import shuffle
from torch import nn

torch.manual_seed(0)
features = shuffle(torch.randn(100, 4).numpy())  # expect: REP111
model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for train, _ in KFold(5, shuffle=True).split(features):
    for row in train:
        model(torch.tensor(features[row])).sum().backward()
        optimizer.step()
