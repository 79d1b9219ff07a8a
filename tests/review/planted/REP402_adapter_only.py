import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from rows import load_batches


def main(batches):
    set_seed(17, deterministic=True)
    accelerator = Accelerator()
    base = AutoModelForCausalLM.from_pretrained("/models/small")
    model = get_peft_model(base, LoraConfig(r=8))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    model, optimizer = accelerator.prepare(model, optimizer)
    for batch in batches:
        loss = model(**batch).loss
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    accelerator.unwrap_model(model).save_pretrained("adapter")  # expect: REP402


if __name__ == "__main__":
    main(load_batches())
