import random
from pathlib import Path

import numpy as np

status = Path("data.txt").stat()
seed = hash((status.st_ino, 7)) % 2**32
np.random.seed(seed)  # expect: REP113
random.seed(Path("data.txt").stat()[8])  # expect: REP113
print(random.random(), np.random.rand())
