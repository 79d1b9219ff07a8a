import torch


def build(model, path):
    """Old files have a prefix; what is in neither form is an error."""
    state = torch.load(path, weights_only=True)
    try:
        model.load_state_dict(state)
    except RuntimeError:
        model.load_state_dict({name.removeprefix("module."): tensor for name, tensor in state.items()})
    return model
