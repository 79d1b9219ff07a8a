import torch

torch.manual_seed(1337)
torch.backends.cuda.matmul.allow_tf32 = True  # expect: REP304
torch.backends.cudnn.allow_tf32 = True
