import pickle

import torch
from torch.distributed.checkpoint.state_dict import get_state_dict

torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.Adam(model.parameters())
for step in range(3):
    model(torch.ones(4)).sum().backward()
    optimizer.step()
    with open("last.pkl", "wb") as stream:
        pickle.dump([step, model, optimizer], stream)
    torch.save(model.state_dict(), "weights.pt.tmp")
print(get_state_dict)
