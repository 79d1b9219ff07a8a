import argparse
import logging
import os

import numpy as np
import pandas as pd
import yaml
from datasets import Dataset
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from tokenizers.trainers import WordLevelTrainer
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
logger = logging.getLogger(__name__)

LABELS = ["negative", "positive"]


def build_tokenizer(texts, vocab_size, min_frequency, max_length):
    tokenizer = Tokenizer(WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(
        texts,
        WordLevelTrainer(
            vocab_size=vocab_size,
            min_frequency=min_frequency,
            special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"],
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )


def compute_metrics(pred):
    return {"accuracy": float((np.argmax(pred.predictions, axis=-1) == pred.label_ids).mean())}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    args = parser.parse_args()
    with open(args.config) as f:
        cfg = yaml.safe_load(f)

    set_seed(cfg["seed"])

    df = pd.read_csv(cfg["data"]["path"])
    df["label"] = df["label"].map(LABELS.index)
    splits = Dataset.from_pandas(df).train_test_split(test_size=cfg["data"]["eval_size"], seed=cfg["seed"])
    tokenizer = build_tokenizer(splits["train"]["text"], max_length=cfg["data"]["max_length"], **cfg["tokenizer"])
    splits = splits.map(lambda batch: tokenizer(batch["text"], truncation=True), batched=True, remove_columns=["text"])

    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(tokenizer),
            max_position_embeddings=cfg["data"]["max_length"],
            pad_token_id=tokenizer.pad_token_id,
            id2label=dict(enumerate(LABELS)),
            label2id={name: i for i, name in enumerate(LABELS)},
            **cfg["model"],
        )
    )
    logger.info("vocabulary: %d, parameters: %d", len(tokenizer), model.num_parameters())

    trainer = Trainer(
        model=model,
        args=TrainingArguments(output_dir=cfg["output_dir"], seed=cfg["seed"], **cfg["training"]),
        train_dataset=splits["train"],
        eval_dataset=splits["test"],
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=compute_metrics,
    )

    last_checkpoint = None
    if os.path.isdir(cfg["output_dir"]):
        last_checkpoint = get_last_checkpoint(cfg["output_dir"])
    if last_checkpoint is not None:
        logger.info("resuming from %s", last_checkpoint)
    trainer.train(resume_from_checkpoint=last_checkpoint)

    metrics = trainer.evaluate()
    trainer.log_metrics("eval", metrics)
    trainer.save_metrics("eval", metrics)
    trainer.save_model(os.path.join(cfg["output_dir"], "model"))


if __name__ == "__main__":
    main()
