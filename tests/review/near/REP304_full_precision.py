import torch

torch.manual_seed(1337)
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
torch.set_float32_matmul_precision("highest")


def dot(left, right, *, allow_tf32=True):
    """Its own argument, which switches nothing."""
    return left @ right if allow_tf32 else (left.double() @ right.double()).float()
