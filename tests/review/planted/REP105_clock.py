import random
import time

import numpy as np
import torch

seed = int(time.time()) % 2**31
random.seed(seed)  # expect: REP105
np.random.seed(seed)
torch.manual_seed(seed)
print(torch.randperm(4))
