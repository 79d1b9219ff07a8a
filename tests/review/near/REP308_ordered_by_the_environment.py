import os

from transformers import AutoModelForCausalLM, Trainer, TrainingArguments, set_seed

if os.environ.get("FLASH_ATTENTION_DETERMINISTIC") != "1":
    raise SystemExit("set FLASH_ATTENTION_DETERMINISTIC=1")
set_seed(42)
model = AutoModelForCausalLM.from_pretrained(
    "org/small-model",
    revision="0123456789abcdef0123456789abcdef01234567",
    attn_implementation="flash_attention_2",
)
trainer = Trainer(model=model, args=TrainingArguments(output_dir="out", seed=42))
trainer.train()
