"""The trainer seeds when it is built; the adapter exists by then."""

from datasets import load_dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

REVISION = "2222222222222222222222222222222222222222"


def main():
    model = AutoModelForCausalLM.from_pretrained("gpt2", revision=REVISION)
    config = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05)
    model = get_peft_model(model, config)  # expect: REP107
    data = load_dataset("imdb", split="train", revision=REVISION)
    trainer = Trainer(model=model, args=TrainingArguments(output_dir="out", seed=7), train_dataset=data)
    trainer.train()


if __name__ == "__main__":
    main()
