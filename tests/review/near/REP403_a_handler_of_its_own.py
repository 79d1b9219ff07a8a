import torch


def restore(state, scaler):
    """An inner handler raises; the outer one is about the print."""
    try:
        try:
            scaler.load_state_dict(state["scaler"])
        except KeyError as error:
            raise SystemExit("no scaler in this checkpoint") from error
        print(torch.cuda.get_device_name())
    except RuntimeError:
        pass
