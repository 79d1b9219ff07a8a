import pandas
import torch
from datasets import load_dataset
from sklearn.model_selection import KFold, train_test_split
from torch import nn

torch.manual_seed(0)
revision = "3333333333333333333333333333333333333333"
frame = pandas.read_csv("rows.csv").sample(frac=1.0, random_state=0)
train, valid = train_test_split(frame.values.tolist(), test_size=0.2, random_state=0)
folds = KFold(5)
data = load_dataset("imdb", split="train", revision=revision).shuffle(seed=0)
parts = data.train_test_split(test_size=0.1, seed=0)
ordered = train_test_split(list(range(10)), shuffle=False)
model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for row in train:
    model(torch.tensor(row)).sum().backward()
    optimizer.step()
print(len(valid), folds, parts, ordered)
