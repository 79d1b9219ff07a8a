"""Write a tiny random Llama and a BPE tokenizer trained on our data, for trying things out."""
import argparse
import json

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

parser = argparse.ArgumentParser()
parser.add_argument("--data_path", default="data/train.jsonl")
parser.add_argument("--output", default="models/tiny-llama")
args = parser.parse_args()

texts = []
for line in open(args.data_path, encoding="utf-8"):
    row = json.loads(line)
    texts += [row["prompt"], row["completion"]]

tok = Tokenizer(models.BPE())
tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tok.decoder = decoders.ByteLevel()
tok.train_from_iterator(texts, trainers.BpeTrainer(
    vocab_size=768, special_tokens=["<s>", "</s>", "<pad>"],
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=tok, bos_token="<s>", eos_token="</s>", pad_token="<pad>")

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=len(tokenizer), hidden_size=192, intermediate_size=512, num_hidden_layers=4,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
    bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    pad_token_id=tokenizer.pad_token_id)
model = LlamaForCausalLM(config)
model.save_pretrained(args.output)
tokenizer.save_pretrained(args.output)
print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters -> {args.output}")
