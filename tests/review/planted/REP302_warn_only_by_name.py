import torch
from transformers import enable_full_determinism

WARN = True

enable_full_determinism(11, warn_only=WARN)  # expect: REP302
torch.set_deterministic_debug_mode("warn")  # expect: REP302
