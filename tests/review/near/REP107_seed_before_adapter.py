from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments, set_seed

set_seed(7)
revision = "2222222222222222222222222222222222222222"
model = AutoModelForCausalLM.from_pretrained("gpt2", revision=revision)
model = get_peft_model(model, LoraConfig(r=16))
trainer = Trainer(model=model, args=TrainingArguments(output_dir="out", seed=7))
trainer.train()
