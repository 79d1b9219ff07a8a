import time

from tools import set_all_seeds

set_all_seeds(int(time.time()) + 1)  # expect: REP105
