"""One training, or the digest's speed, for bench.py: bench_training.py lora|full|tiny|digest RECORDER.

Prints JSON: the milliseconds of each step but the first ones, or GB/s by what computes. Time is the processor's: what
else runs counts little.
"""

import hashlib
import importlib.util
import json
import statistics
import sys
import time

import torch
from torch import nn

NUM_WARM = 3


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.expand, self.contract = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        y = self.norms[0](x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.contract(nn.functional.gelu(self.expand(self.norms[1](x))))


def transformer(width, layers, words):
    return nn.Sequential(nn.Embedding(words, width), *(Block(width) for _ in range(layers)), nn.Linear(width, words))


def smollm2_with_lora():
    """Return a model of SmolLM2-135M's shape, with weights of chance, and adapters on its attention."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "vocab_size": 49152}
    heads = {"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True}
    targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
    return get_peft_model(LlamaForCausalLM(LlamaConfig(**shape, **heads)), LoraConfig(r=8, target_modules=targets))


def train(model, batch, length, words, steps):
    """Return the milliseconds of each step."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    durations = []
    for _ in range(NUM_WARM + steps):
        began = time.process_time()
        tokens = torch.randint(words, (batch, length + 1))
        found = model(tokens[:, :-1])
        scores = found.logits if hasattr(found, "logits") else found
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        durations.append(1000 * (time.process_time() - began))
    return durations[NUM_WARM:]


def speeds(recorder):
    """Return GB/s for one large tensor and for many small ones: the digest by each arithmetic, a copy, and sha256."""
    spec = importlib.util.spec_from_file_location(
        "_harness_recorder", f"{recorder}/__init__.py", submodule_search_locations=[recorder]
    )
    sys.modules["_harness_recorder"] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    from _harness_recorder import digest

    given = [torch.randn(16 << 20)], [torch.randn(68, 68) for _ in range(400)]
    native, target = digest.machine_code, torch.empty(16 << 20)

    def hashed(tensors):
        digest.launch({str(number): tensor for number, tensor in enumerate(tensors)}).result()

    def by_numpy(tensors):
        digest.machine_code = None
        hashed(tensors)
        digest.machine_code = native

    def copied(tensors):
        for tensor in tensors:
            target[: tensor.numel()].copy_(tensor.view(-1))

    def sha256(tensors):
        for tensor in tensors:
            hashlib.sha256(tensor.numpy()).digest()

    ways = {f"ml128, {digest.arithmetic()}": hashed, "ml128, numpy": by_numpy, "copy": copied, "sha256": sha256}
    return {name: [speed(way, tensors) for tensors in given] for name, way in ways.items()}


def speed(way, tensors):
    durations = []
    for _ in range(7):
        began = time.process_time()
        way(tensors)
        durations.append(time.process_time() - began)
    return sum(tensor.nbytes for tensor in tensors) / statistics.median(durations) / 1e9


def main(kind, recorder):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    if kind == "digest":
        return speeds(recorder)
    if kind == "lora":
        return train(smollm2_with_lora(), batch=4, length=128, words=49152, steps=6)
    if kind == "full":
        return train(transformer(384, 8, 4096), batch=8, length=64, words=4096, steps=10)
    return train(transformer(64, 4, 256), batch=8, length=32, words=256, steps=100)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
