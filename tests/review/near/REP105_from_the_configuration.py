import json
import random
from pathlib import Path

import torch

config = json.loads(Path("config.json").read_text())
seed = config["seed"] + 1000 * config["rank"]
random.seed(seed)
torch.manual_seed(seed)
