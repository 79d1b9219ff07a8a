import os
import platform
import random
import socket
import zlib

import numpy as np
import torch

random.seed(os.getpid())  # expect: REP114
np.random.seed(zlib.crc32(socket.gethostname().encode()))  # expect: REP114
torch.manual_seed(sum(map(ord, platform.node())))  # expect: REP114
generator = torch.Generator().manual_seed(len(os.sched_getaffinity(0)) + id(generator_of := object()))  # expect: REP114
noise = np.random.default_rng(1000 + os.cpu_count())  # expect: REP114
print(generator, noise, os.uname().nodename)
