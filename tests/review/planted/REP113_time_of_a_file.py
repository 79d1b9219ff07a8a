import os.path

from transformers import TrainingArguments, set_seed

set_seed(int(os.path.getmtime("train.py")))  # expect: REP113
arguments = TrainingArguments(output_dir="x", seed=int(os.path.getctime("train.py")))  # expect: REP113
print(arguments)
