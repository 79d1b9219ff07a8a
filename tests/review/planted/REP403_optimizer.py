def restore(checkpoint, model, optimizer):
    model.load_state_dict(checkpoint["model"])
    try:
        optimizer.load_state_dict(checkpoint["optimizer"])  # expect: REP403
    except (ValueError, KeyError):
        pass
