"""LoRA fine-tuning of a small causal language model with peft and a loop of one's own.

python train.py --config config.json --output folder [--resume]
"""

import argparse
import json
import os
import random
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, get_cosine_schedule_with_warmup, set_seed

WORDS = 64


def texts(count: int) -> list[list[int]]:
    chooser = random.Random(0)
    return [
        [(chooser.randrange(WORDS // 4) + 5 * place) % WORDS for place in range(chooser.randint(6, 14))]
        for _ in range(count)
    ]


def pack(lines: list[list[int]]) -> list[list[int]]:
    """All lines in a random order, one after the other, cut into blocks of 16 tokens."""
    lines = list(lines)
    random.shuffle(lines)
    tokens = [token for line in lines for token in line]
    return [tokens[place : place + 16] for place in range(0, len(tokens) - 15, 16)]


def main(config: dict, output: Path, resume: bool) -> None:
    set_seed(config["seed"])
    base = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=WORDS,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=32,
        )
    )
    dtype = torch.bfloat16 if config["bf16"] else torch.float32
    base = base.to(dtype)
    lora = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.1, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(base, lora, autocast_adapter_dtype=False)
    if config["gradient_checkpointing"]:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config["lr"], weight_decay=0.01)
    scheduler = get_cosine_schedule_with_warmup(optimizer, 2, config["steps"])
    lines = texts(48)

    output.mkdir(parents=True, exist_ok=True)
    path = output / "checkpoint.pt"
    step = 0
    blocks = []
    if resume and path.exists():
        saved = torch.load(path, weights_only=True)
        set_peft_model_state_dict(model, saved["adapter"])
        optimizer.load_state_dict(saved["optimizer"])
        scheduler.load_state_dict(saved["scheduler"])
        step, blocks = saved["step"], saved["blocks"]
        random.setstate(saved["python"])
        torch.set_rng_state(saved["torch"])

    model.train()
    while step < config["steps"]:
        for _ in range(config["accumulation"]):
            if len(blocks) < 2:
                blocks = pack(lines)
            tokens = torch.tensor([blocks.pop(), blocks.pop()])
            loss = model(input_ids=tokens, labels=tokens).loss / config["accumulation"]
            loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        step += 1
        if step % config["save_every"] == 0:
            state = {
                "adapter": get_peft_model_state_dict(model),
                "optimizer": optimizer.state_dict(),
                "scheduler": scheduler.state_dict(),
                "step": step,
                "blocks": blocks,
                "python": random.getstate(),
                "torch": torch.get_rng_state(),
            }
            torch.save(state, output / "checkpoint.tmp")
            os.replace(output / "checkpoint.tmp", path)
    adapter = {name: tensor.contiguous() for name, tensor in get_peft_model_state_dict(model).items()}
    save_file(adapter, output / "adapter.safetensors")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    main(json.loads(arguments.config.read_text()), arguments.output, arguments.resume)
