import torch


def latest(path, optimizer):
    """The first start finds no file, and says so."""
    try:
        state = torch.load(path, weights_only=True)
        optimizer.load_state_dict(state["optimizer"])
    except FileNotFoundError:
        print("no checkpoint yet: starting at step 0")
