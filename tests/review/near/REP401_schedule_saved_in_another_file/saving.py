import os

import torch


def complete_state(model, optimizer, scheduler, step):
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "rng": {"torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()},
        "step": step,
    }


def save(state, path):
    torch.save(state, path + ".tmp")
    os.replace(path + ".tmp", path)
