import random

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM

torch.use_deterministic_algorithms(True)
random.seed(1)
np.random.seed(1)
revision = "1111111111111111111111111111111111111111"
base = AutoModelForCausalLM.from_pretrained("gpt2", revision=revision)
model = get_peft_model(base, LoraConfig(r=8, lora_alpha=16))  # expect: REP103
loader = DataLoader(torch.arange(64).view(8, 8), batch_size=2)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4)
for batch in loader:
    loss = model(input_ids=batch, labels=batch).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
