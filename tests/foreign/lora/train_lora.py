import argparse
import json
import math
import os
import random

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer, get_cosine_schedule_with_warmup


def parse_args():
    p = argparse.ArgumentParser(description="LoRA fine-tuning of a causal LM")
    p.add_argument("--model_path", default="models/tiny-llama")
    p.add_argument("--data_path", default="data/train.jsonl")
    p.add_argument("--output_dir", default="outputs/")
    p.add_argument("--epochs", type=int, default=3)
    p.add_argument("--batch_size", type=int, default=2)
    p.add_argument("--grad_accum", type=int, default=2)
    p.add_argument("--lr", type=float, default=3e-3)
    p.add_argument("--warmup_steps", type=int, default=3)
    p.add_argument("--max_length", type=int, default=128)
    p.add_argument("--lora_r", type=int, default=8)
    p.add_argument("--lora_alpha", type=int, default=16)
    p.add_argument("--lora_dropout", type=float, default=0.05)
    p.add_argument("--seed", type=int, default=42)
    p.add_argument("--save_every", type=int, default=5, help="optimizer steps between checkpoints")
    p.add_argument("--resume_from_checkpoint", default=None, metavar="PATH")
    return p.parse_args()


def load_data(path, tokenizer, max_length):
    examples = []
    with open(path, encoding="utf-8") as f:
        for line in f:
            row = json.loads(line)
            prompt = tokenizer(f"Question: {row['prompt']}\nAnswer: ", add_special_tokens=False)["input_ids"]
            answer = tokenizer(row["completion"], add_special_tokens=False)["input_ids"]
            ids = [tokenizer.bos_token_id] + prompt + answer + [tokenizer.eos_token_id]
            # no loss on the prompt
            labels = [-100] * (len(prompt) + 1) + answer + [tokenizer.eos_token_id]
            examples.append((ids[:max_length], labels[:max_length]))
    return examples


def make_collate(pad_id):
    def collate(batch):
        n = max(len(ids) for ids, _ in batch)
        return {
            "input_ids": torch.tensor([ids + [pad_id] * (n - len(ids)) for ids, _ in batch]),
            "attention_mask": torch.tensor([[1] * len(ids) + [0] * (n - len(ids)) for ids, _ in batch]),
            "labels": torch.tensor([lab + [-100] * (n - len(lab)) for _, lab in batch]),
        }
    return collate


def save_checkpoint(args, model, optimizer, scheduler, step, epoch, step_in_epoch):
    path = os.path.join(args.output_dir, f"checkpoint-{step}")
    model.save_pretrained(path)
    torch.save({
        "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(),
        "step": step, "epoch": epoch, "step_in_epoch": step_in_epoch,  # step_in_epoch counts micro batches
        "rng": {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()},
    }, os.path.join(path, "training_state.pt"))
    print(f"saved {path}", flush=True)


def main():
    args = parse_args()
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    tokenizer = AutoTokenizer.from_pretrained(args.model_path)
    base = AutoModelForCausalLM.from_pretrained(args.model_path)
    if args.resume_from_checkpoint:
        model = PeftModel.from_pretrained(base, args.resume_from_checkpoint, is_trainable=True)
    else:
        model = get_peft_model(base, LoraConfig(
            task_type="CAUSAL_LM", r=args.lora_r, lora_alpha=args.lora_alpha, lora_dropout=args.lora_dropout,
            target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]))
    model.to(device)
    model.print_trainable_parameters()

    examples = load_data(args.data_path, tokenizer, args.max_length)
    n_batches = math.ceil(len(examples) / args.batch_size)
    total_steps = math.ceil(n_batches / args.grad_accum) * args.epochs
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(params, lr=args.lr)
    scheduler = get_cosine_schedule_with_warmup(optimizer, args.warmup_steps, total_steps)

    step, start_epoch, skip = 0, 0, 0
    if args.resume_from_checkpoint:
        # our own file, contains python objects (rng states)
        state = torch.load(os.path.join(args.resume_from_checkpoint, "training_state.pt"),
                           map_location="cpu", weights_only=False)
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        step, start_epoch, skip = state["step"], state["epoch"], state["step_in_epoch"]
        random.setstate(state["rng"]["python"])
        np.random.set_state(state["rng"]["numpy"])
        torch.set_rng_state(state["rng"]["torch"])
        print(f"resuming from {args.resume_from_checkpoint} at step {step}")

    model.train()
    for epoch in range(start_epoch, args.epochs):
        # one shuffle per epoch, so that resuming gives the same order
        loader = DataLoader(examples, batch_size=args.batch_size, shuffle=True,
                            generator=torch.Generator().manual_seed(args.seed + epoch),
                            collate_fn=make_collate(tokenizer.pad_token_id))
        running = 0.0
        for i, batch in enumerate(loader):
            if epoch == start_epoch and i < skip:
                continue
            batch = {k: v.to(device) for k, v in batch.items()}
            # the last group of an epoch can be smaller
            group = min(args.grad_accum, n_batches - i // args.grad_accum * args.grad_accum)
            loss = model(**batch).loss / group
            loss.backward()
            running += loss.item()
            if (i + 1) % args.grad_accum != 0 and i + 1 != n_batches:
                continue

            torch.nn.utils.clip_grad_norm_(params, 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            step += 1
            print(f"epoch {epoch} step {step}/{total_steps} loss {running:.4f} "
                  f"lr {scheduler.get_last_lr()[0]:.2e}", flush=True)
            running = 0.0
            if step % args.save_every == 0:
                save_checkpoint(args, model, optimizer, scheduler, step, epoch, i + 1)

    final = os.path.join(args.output_dir, "final")
    model.save_pretrained(final)
    tokenizer.save_pretrained(final)
    print(f"done, adapter in {final}")


if __name__ == "__main__":
    main()
