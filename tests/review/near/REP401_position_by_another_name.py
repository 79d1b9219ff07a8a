import os

import torch


def train(model, optimizer, data, path):
    done = 0
    for phase in range(2):
        while done < len(data):
            model(data[done]).sum().backward()
            optimizer.step()
            done += 1
            state = dict(net=model.state_dict(), opt=optimizer.state_dict(), phase=phase, done=done)
            torch.save(state, f"{path}.tmp")
            os.replace(f"{path}.tmp", path)
        state = dict(net=model.state_dict(), opt=optimizer.state_dict(), next=phase + 1)
        torch.save(state, f"{path}.phase.tmp")
        os.replace(f"{path}.phase.tmp", f"{path}.phase")


def resume(model, optimizer, path):
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["net"])
    optimizer.load_state_dict(state["opt"])
    return state["phase"], state["done"]


torch.manual_seed(1)
net = torch.nn.Linear(2, 2)
train(net, torch.optim.Adam(net.parameters()), torch.ones(4, 2), "last.pt")
