import warnings

import torch


def make_deterministic(seed, strict=True):
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=False)
    torch.set_deterministic_debug_mode("error")
    warnings.warn(f"deterministic, strict={strict}", stacklevel=2)


def off():
    torch.use_deterministic_algorithms(False, warn_only=True)
