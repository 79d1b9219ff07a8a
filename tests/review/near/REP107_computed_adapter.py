"""OLoRA computes the adapter from the model's weights: nothing is drawn for it before the trainer seeds."""

from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

revision = "2222222222222222222222222222222222222222"
model = AutoModelForCausalLM.from_pretrained("gpt2", revision=revision)
model = get_peft_model(model, LoraConfig(r=16, init_lora_weights="olora"))
trainer = Trainer(model=model, args=TrainingArguments(output_dir="out", seed=7))
trainer.train()
