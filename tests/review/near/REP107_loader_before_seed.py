import torch
from sklearn.model_selection import KFold
from torch.utils.data import DataLoader, RandomSampler, TensorDataset
from torchvision import transforms

data = TensorDataset(torch.arange(32.0)[:, None])
crop = transforms.Compose([transforms.RandomCrop(4), transforms.RandomHorizontalFlip()])
folds = KFold(n_splits=4, shuffle=True, random_state=0)
loader = DataLoader(data, batch_size=4, sampler=RandomSampler(data, generator=torch.Generator().manual_seed(0)))
plain = DataLoader(data, batch_size=4)
torch.manual_seed(0)
model = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for (batch,) in loader:
    model(batch).sum().backward()
    optimizer.step()
print(crop, folds, plain)
