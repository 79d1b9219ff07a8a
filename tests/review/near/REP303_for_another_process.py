import os
import subprocess
import sys

import torch

torch.manual_seed(1)
if os.environ.get("PYTHONHASHSEED") != "0":
    os.environ["PYTHONHASHSEED"] = "0"
    sys.exit(subprocess.call([sys.executable, *sys.argv]))
