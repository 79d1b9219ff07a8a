"""Masked words with the Trainer of transformers, as run_mlm.py does it: python hf_mlm.py FOLDER OUTPUT [--resume]."""

import sys

from datasets import load_dataset
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
    set_seed,
)

folder, output = sys.argv[1:3]
set_seed(42)
tokenizer = AutoTokenizer.from_pretrained(f"{folder}/bert")
data = load_dataset("text", data_files=f"{folder}/corpus.txt", split="train", cache_dir=f"{output}/cache")
data = data.map(lambda row: tokenizer(row["text"], truncation=True, max_length=32), remove_columns=["text"])
size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
arguments = TrainingArguments(
    output_dir=output,
    per_device_train_batch_size=4,
    max_steps=16,
    save_steps=4,
    learning_rate=1e-3,
    report_to="none",
    use_cpu=True,
)
collator = DataCollatorForLanguageModeling(tokenizer)
trainer = Trainer(
    model=BertForMaskedLM(BertConfig(vocab_size=64, **size)), args=arguments, train_dataset=data, data_collator=collator
)
trainer.train(resume_from_checkpoint="--resume" in sys.argv)
trainer.save_model(f"{output}/final")
