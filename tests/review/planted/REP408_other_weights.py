import torch


def build(model, path):
    try:
        model.load_state_dict(torch.load(path, weights_only=True))  # expect: REP408
    except Exception:
        print("could not load, starting from scratch")
    return model
