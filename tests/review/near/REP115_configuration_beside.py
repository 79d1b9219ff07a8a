import argparse
import json
import os
from pathlib import Path

import torch
from project import config_of  # a package that is not in this tree
from project.settings import Settings


def read_seed(path):
    return int(Path(path).read_text())


parser = argparse.ArgumentParser()
parser.add_argument("--config", default=os.path.join(os.path.dirname(__file__), "config.json"))
options = parser.parse_args()
settings = Settings.from_file(os.path.abspath(options.config))
torch.manual_seed(settings.seed)
torch.manual_seed(config_of(os.getcwd()).seed)
torch.manual_seed(read_seed(Path(__file__).with_name("seed.txt")))
torch.manual_seed(json.load(open(Path(__file__).parent / "seed.json"))["seed"])
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    model(torch.ones(4)).sum().backward()
    optimizer.step()
