"""LoRA with the Trainer of transformers: python hf_lora.py FOLDER OUTPUT [--resume]."""

import sys

from datasets import load_dataset
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
    set_seed,
)

folder, output = sys.argv[1:3]
set_seed(42)
tokenizer = AutoTokenizer.from_pretrained(f"{folder}/llama")
data = load_dataset("text", data_files=f"{folder}/corpus.txt", split="train", cache_dir=f"{output}/cache")
data = data.map(lambda row: tokenizer(row["text"], truncation=True, max_length=32), remove_columns=["text"])
model = AutoModelForCausalLM.from_pretrained(f"{folder}/llama")
model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, lora_dropout=0.1, task_type="CAUSAL_LM"))
arguments = TrainingArguments(
    output_dir=output,
    per_device_train_batch_size=4,
    gradient_accumulation_steps=2,
    max_steps=20,
    learning_rate=1e-3,
    warmup_steps=2,
    save_steps=4,
    logging_steps=5,
    report_to="none",
    use_cpu=True,
)
collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)
trainer = Trainer(model=model, args=arguments, train_dataset=data, data_collator=collator)
trainer.train(resume_from_checkpoint="--resume" in sys.argv)
trainer.save_model(f"{output}/final")
