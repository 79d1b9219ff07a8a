import os

from tools import set_all_seeds

set_all_seeds(os.getpid() + 1)  # expect: REP105
