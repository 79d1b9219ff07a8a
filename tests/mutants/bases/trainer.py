"""A small language model with the Hugging Face Trainer, masked (`mlm: true`) or causal.

python train.py --config config.json --output folder [--resume]
"""

import argparse
import json
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

WORDS = [f"w{number}" for number in range(60)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def make_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate(SPECIAL + WORDS)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def make_data(tokenizer: PreTrainedTokenizerFast) -> list[dict]:
    chooser = random.Random(1)
    texts = [
        " ".join(WORDS[(start + 7 * place) % 60] for place in range(chooser.randint(8, 16)))
        for start in (chooser.randrange(60) for _ in range(64))
    ]
    return [{"input_ids": tokenizer(text)["input_ids"]} for text in texts]


class StaticMasks:
    """Masks one token in six, always the same ones of a text, as BERT's own data had them."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast):
        self.tokenizer = tokenizer

    def __call__(self, examples: list[dict]) -> dict[str, torch.Tensor]:
        batch = self.tokenizer.pad({"input_ids": [one["input_ids"] for one in examples]}, return_tensors="pt")
        labels = torch.full_like(batch["input_ids"], -100)
        for row, one in enumerate(examples):
            chooser = random.Random(str(one["input_ids"]))
            for place in range(len(one["input_ids"])):
                if chooser.random() < 1 / 6 or place == 0:
                    labels[row, place] = batch["input_ids"][row, place]
                    batch["input_ids"][row, place] = self.tokenizer.mask_token_id
        return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "labels": labels}


def make_model(config: dict):
    if config["mlm"]:
        return BertForMaskedLM(
            BertConfig(
                vocab_size=65,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=32,
            )
        )
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=65,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=32,
            attention_dropout=0.1,
        )
    )


def main(config: dict, output: Path, resume: bool) -> None:
    set_seed(config["seed"])
    tokenizer = make_tokenizer()
    data = make_data(tokenizer)
    causal = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    collator = StaticMasks(tokenizer) if config["mlm"] else causal
    callbacks: list[TrainerCallback] = []
    arguments = TrainingArguments(
        output_dir=str(output),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=config["accumulation"],
        max_steps=config["steps"],
        learning_rate=config["lr"],
        warmup_steps=2,
        lr_scheduler_type="cosine",
        weight_decay=0.01,
        save_steps=config["save_every"],
        save_total_limit=2,
        logging_steps=5,
        report_to="none",
        seed=config["seed"],
        gradient_checkpointing=config["gradient_checkpointing"],
        use_cpu=True,
    )
    trainer = Trainer(
        model=make_model(config), args=arguments, train_dataset=data, data_collator=collator, callbacks=callbacks
    )
    trainer.train(resume_from_checkpoint=True if resume else None)
    trainer.save_model(str(output / "final"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    main(json.loads(given.config.read_text()), given.output, given.resume)
