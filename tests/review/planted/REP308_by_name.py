from transformers import AutoModelForCausalLM, Trainer, TrainingArguments, set_seed

set_seed(42)
model = AutoModelForCausalLM.from_pretrained(  # expect: REP308 possible
    "org/small-model",
    revision="0123456789abcdef0123456789abcdef01234567",
    attn_implementation="flash_attention_2",
)
trainer = Trainer(model=model, args=TrainingArguments(output_dir="out", seed=42))
trainer.train()
