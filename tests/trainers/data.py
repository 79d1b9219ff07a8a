"""Small data for the trainers, the same on every machine: `python data.py FUNCTION` writes into the working folder.

Runs in the interpreter that trains, with numpy, torch, tokenizers and transformers.
"""

import json
import random
import sys
from pathlib import Path

WORDS = "the a small red old river stone tree bird runs sees finds keeps under over near and then while it was".split()


def lines(num, seed=0):
    """Sentences of random words."""
    chosen = random.Random(seed)
    return [" ".join(chosen.choices(WORDS, k=chosen.randint(6, 14))) + " ." for _ in range(num)]


def corpus():
    """corpus.txt, a sentence a line."""
    Path("corpus.txt").write_text("\n".join(lines(600)) + "\n")


def wikitext():
    """data/{train,valid,test}.txt, and all of it as data/wikitext-2.txt."""
    Path("data").mkdir()
    for name, num in (("train", 150), ("valid", 20), ("test", 20), ("wikitext-2", 40)):
        Path("data", f"{name}.txt").write_text("\n".join(lines(num)) + "\n")


def tokens():
    """data/tiny/{train,val}.bin: 16 bit numbers below 64, as nanoGPT reads them, and meta.pkl with their number."""
    import pickle

    import numpy

    folder = Path("data/tiny")
    folder.mkdir(parents=True)
    for name, num in (("train", 4000), ("val", 1000)):
        numpy.random.default_rng(num).integers(0, 64, num).astype(numpy.uint16).tofile(folder / f"{name}.bin")
    (folder / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": 64}))


def tokenizer():
    """tokenizer/, whole words, with the special tokens of BERT."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*special, *WORDS, "."])}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    PreTrainedTokenizerFast(
        tokenizer_object=words, model_max_length=128, eos_token="[SEP]", bos_token="[CLS]", **names
    ).save_pretrained("tokenizer")


def llama():
    """tokenizer/ and llama/, a random language model of 30,000 parameters."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer()
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    LlamaForCausalLM(
        LlamaConfig(vocab_size=64, max_position_embeddings=128, eos_token_id=3, bos_token_id=2, pad_token_id=0, **size)
    ).save_pretrained("llama")
    AutoTokenizer.from_pretrained("tokenizer").save_pretrained("llama")


def bert():
    """bert/, a random classifier with its tokenizer, and pairs/{train,validation}.csv."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    tokenizer()
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    BertForSequenceClassification(BertConfig(vocab_size=64, **size)).save_pretrained("bert")
    AutoTokenizer.from_pretrained("tokenizer").save_pretrained("bert")
    Path("pairs").mkdir()
    for name, num in (("train", 128), ("validation", 32)):
        texts = lines(2 * num, seed=num)
        rows = [f"{i},{texts[2 * i]},{texts[2 * i + 1]},{i % 2}" for i in range(num)]
        Path("pairs", f"{name}.csv").write_text("\n".join(["idx,sentence1,sentence2,label", *rows]) + "\n")


def conversations():
    """conversations/train.jsonl, prompts with their completions."""
    Path("conversations").mkdir()
    texts = lines(128, seed=1)
    rows = [{"prompt": a, "completion": " " + b} for a, b in zip(texts[::2], texts[1::2], strict=True)]
    Path("conversations/train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def litgpt():
    """litgpt/, a GPT of random weights with its tokenizer, and litgpt/rows.json to fine-tune it on."""
    import dataclasses

    import torch
    import yaml
    from litgpt import GPT, Config

    tokenizer()
    base = Path("tokenizer").rename("litgpt")
    torch.manual_seed(0)
    size = {"n_layer": 2, "n_head": 2, "n_embd": 16, "intermediate_size": 32, "block_size": 256}
    config = Config.from_name("pythia-14m", vocab_size=64, padded_vocab_size=64, **size)
    torch.save(GPT(config).state_dict(), base / "lit_model.pth")
    (base / "model_config.yaml").write_text(yaml.safe_dump(dataclasses.asdict(config)))
    rows = [{"instruction": "define", "input": "", "output": text} for text in lines(60, seed=2)]
    (base / "rows.json").write_text(json.dumps(rows))


if __name__ == "__main__":
    globals()[sys.argv[1]]()
