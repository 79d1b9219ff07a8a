import pickle

import torch

torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.Adam(model.parameters())
for step in range(3):
    model(torch.ones(4)).sum().backward()
    optimizer.step()
    moments = [optimizer.state[one] for group in optimizer.param_groups for one in group["params"]]
    with open("last.pkl", "wb") as stream:
        pickle.dump((step, moments), stream)
    torch.save(model.state_dict(), "weights.pt.tmp")
