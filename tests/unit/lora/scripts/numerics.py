"""Compute with a small model what the tests of packing, mixed precision and the probe look at; print it as JSON.

Runs in the interpreter that has torch. Usage: numerics.py PIPELINE WORK CONFIGURATION
"""

import contextlib
import io
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])

import data
import model
import prepare
import probe
import state
import torch
import train
from config import parse_config

PREPARED = Path(sys.argv[2]) / "numerics"
DOCUMENT = json.loads(Path(sys.argv[3]).read_text())
DOCUMENT["model"] |= {"num_layers": 4, "hidden_size": 64, "intermediate_size": 128}  # most of the memory: activations
LENGTHS = [100, 9, 23, 40, 77, 5, 61, 18, 30, 12, 55, 34] * 2


def config(**sections):
    document = {
        name: {**value, **sections.get(name, {})} if isinstance(value, dict) else value
        for name, value in DOCUMENT.items()
    }
    return parse_config(document)


def prepare_model():
    """A model with random weights, and pairs of random tokens."""
    (PREPARED / "model").mkdir(parents=True)
    prepare.prepare_random(config(), PREPARED / "model")
    generator = torch.Generator().manual_seed(1)
    with (PREPARED / "pairs.jsonl").open("w") as file:
        for split in ("train", "validation"):
            for length in LENGTHS:
                ids = torch.randint(3, 259, (length,), generator=generator).tolist()
                file.write(json.dumps({"split": split, "input_ids": ids, "prompt_length": length // 3}) + "\n")


def build(**sections):
    """A training whose adapter does something: a fresh one's B is zero."""
    training = state.build_training(config(**sections), PREPARED)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.trainable(training.model).items():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return training


def rows(training):
    """Two packed rows: three pairs with padding behind them, and four."""
    pairs = training.train_pairs
    return [(pairs[3], pairs[1], pairs[2]), (pairs[6], pairs[5], pairs[7], pairs[8])]


def packed_loss():
    """The loss of a packed micro-batch and of its pairs one by one, with each kind of attention."""
    seen = {}
    for attention in ("sdpa", "eager"):
        training = build(model={"attention": attention})
        training.model.eval()
        with torch.no_grad():
            packed = train.loss_sum(training, data.collate_packed(rows(training), 0)).item()
            alone = [train.loss_sum(training, data.collate([pair], 0)).item() for row in rows(training) for pair in row]
        seen[attention] = [packed, sum(alone)]
    return seen


def logits(training, batch, sees_all=False):
    inputs = model.model_inputs(batch, training.config.model.attention)
    if sees_all:  # how it would be without segments: one long text
        inputs = {"input_ids": batch["input_ids"], "attention_mask": torch.ones_like(batch["input_ids"])}
    with torch.no_grad():
        return training.model(**inputs, use_cache=False).logits


def isolation():
    """Which pairs' logits change, to the bit, when a token of the second pair of a row of three is another."""
    seen = {}
    for attention in ("sdpa", "eager"):
        training = build(model={"attention": attention})
        training.model.eval()
        batch = data.collate_packed(rows(training), 0)
        other = {name: tensor.clone() for name, tensor in batch.items()}
        other["input_ids"][0, 42] += 1
        assert other["segments"][0, 42] == 1
        for sees_all in (False, True):
            before, after = (logits(training, one, sees_all)[0] for one in (batch, other))
            same = [torch.equal(before[where], after[where]) for where in (batch["segments"][0] == n for n in range(3))]
            seen[f"{attention}, {'all' if sees_all else 'own'}"] = [not equal for equal in same]
    return seen


def padding_is_finite():
    training = build()
    training.model.eval()
    return bool(logits(training, data.collate_packed(rows(training), 0)).isfinite().all())


def window():
    """A window of packed micro-batches: its loss, the pairs' own losses and token counts, each micro-batch's mean."""
    training = build(lora={"dropout": 0.0}, training={"learning_rate": 0.0})
    batches = [data.collate_packed([row], 0) for row in rows(training)]
    with torch.no_grad():
        sums = [train.loss_sum(training, batch).item() for batch in batches]
    counts = [data.num_targets(batch) for batch in batches]
    return {"loss": train.train_step(training, batches)["loss"], "sums": sums, "counts": counts}


def rounded_once_or_at_each_use():
    """Losses, gradient norms and the adapter after two steps, with frozen weights held in 16 bits or in 32."""
    seen = []
    keep = model.round_frozen_linears
    for precision in ("bf16", "fp16"):
        for hold in (keep, lambda *_: None):
            model.round_frozen_linears = hold
            training = build(training={"precision": precision, "warmup_steps": 0})
            training.scaler = torch.amp.GradScaler("cpu", enabled=precision == "fp16", init_scale=256.0)  # skips none
            held = {
                str(module.weight.dtype)
                for name, module in training.model.named_modules()
                if name.endswith("base_layer")
            }
            records = [train.train_step(training, [data.collate(training.train_pairs[1:3], 0)]) for _ in range(4)]
            adapter = [parameter.double().sum().item() for parameter in model.trainable(training.model).values()]
            seen.append([precision, sorted(held), records, adapter])
    model.round_frozen_linears = keep
    return seen


# ----------------------------------------------------------------------------- the probe
SMALL = {"micro_batch_size": 1, "accumulation": 2, "validation_batch_size": 1}


def probed(name, start=None, **sections):
    output = PREPARED / name
    with contextlib.redirect_stdout(io.StringIO()):
        probe.probe(config(**sections), PREPARED, output, start)
    return json.loads((output / "probe.json").read_text())


def estimates():
    training = {"micro_batch_size": 4, "accumulation": 2, "validation_batch_size": 2}
    return {
        "padded": probed("padded", training=training),
        "a fresh process": probed(
            "fresh",
            "spawn",
            training={
                **training,
                "gradient_checkpointing": True,
                "precision": "bf16",
                "micro_batch_size": 1,
            },
        ),
        "nothing to change": probed(
            "nothing",
            training={
                **SMALL,
                "gradient_checkpointing": True,
                "precision": "fp16",
                "accumulation": 1,
            },
        ),
    }


def gpu_wanted():
    """The estimate of a training that is meant for a GPU, where there is none."""
    found = probed("gpu", training={**SMALL, "device": "cuda"})
    return [found["device"], found["variants"][0]["is_estimate"]]


def failures():
    """A variant that runs out of memory, one that dies, one that has something to correct; the rest goes on."""
    measure, seen = probe.measure, {}

    def failing(kind):
        def work(variant, prepared):
            if variant.training.gradient_checkpointing:
                if kind == "dies":
                    os._exit(9)
                if kind == "corrects":
                    raise probe.PipelineError("it does not fit", "make it fit")
                probe.update = running_out
            return measure(variant, prepared)

        return work

    def running_out(training):
        raise torch.OutOfMemoryError("out of memory")

    for kind in ("runs out", "dies", "corrects"):
        probe.measure = failing(kind)
        seen[kind] = probed(kind, training=SMALL)
    probe.measure = lambda *_: 1 / 0
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            probed("none", training=SMALL)
    except probe.PipelineError as error:
        seen["as configured"] = str(error)
    probe.measure = measure
    return seen


def command():
    """The command line: what it writes, and what it says of data that are not there."""
    path, output = PREPARED / "config.json", PREPARED / "command"
    path.write_text(json.dumps({**DOCUMENT, "training": {**DOCUMENT["training"], **SMALL}}))
    seen = []
    for prepared in (PREPARED, PREPARED / "nowhere"):
        said = io.StringIO()
        words = ["--config", path, "--inputs", PREPARED, "--prepared", prepared, "--output", output]
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            seen.append([probe.main([str(word) for word in words]), said.getvalue(), sorted(os.listdir(output))])
    return seen


def longest():
    """The longest micro-batch, found and by trying them all."""
    seen = []
    for batching in ("shuffled", "bucketed", "packed"):
        training = build(data={"batching": batching, "pack_length": 150}, training={"epochs": 5})
        found = probe.longest_batch(training.train_pairs, training.sampler, 5, 0)["input_ids"].numel()
        sizes = []
        for epoch in range(5):
            training.sampler.set_epoch(epoch)
            loader = data.make_loader(training.train_pairs, training.sampler, pad_token_id=0, num_workers=0)
            sizes += [batch["input_ids"].numel() for batch in loader]
        seen.append([found, max(sizes), min(sizes)])
    return seen


def allocator():
    """The estimate's peak, and what the CPU's allocator says it gave out at most in the same two steps."""
    seen = []
    for changes in ({}, {"gradient_checkpointing": True}):
        chosen = config(training={"micro_batch_size": 2, "accumulation": 2, "validation_batch_size": 2, **changes})
        estimated = probe.measure(chosen, PREPARED)["peak_allocated_bytes"]
        training = state.build_training(chosen, PREPARED)
        model_bytes = probe.LiveTensors(training.model).live
        pairs, epochs = training.train_pairs, chosen.training.epochs
        batch = probe.longest_batch(pairs, training.sampler, epochs, 0)
        validated = probe.longest_batch(training.validation_pairs, state.validation_sampler(training), 1, 0)
        profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True)
        with profile, probe.sdpa_kernel(probe.SDPBackend.MATH):
            probe._steps(training, Unmeasured(), [batch, batch], validated)
        path = PREPARED / "trace.json"
        profile.export_chrome_trace(str(path))
        events = [
            event["args"]["Bytes"]
            for event in json.loads(path.read_text())["traceEvents"]
            if event.get("name") == "[memory]"
        ]
        live = peak = model_bytes
        for size in events:
            live += size
            peak = max(peak, live)
        seen.append([estimated, peak, len(events)])
    return seen


def second_step():
    """The forward pass's peak with one step and with two, and the bytes of the optimizer's state."""
    chosen, peaks, steps = config(training={**SMALL}), [], probe.NUM_STEPS
    for probe.NUM_STEPS in (1, steps):
        peaks.append(probe.measure(chosen, PREPARED)["phases"]["forward"]["peak_allocated_bytes"])
    sizes = [parameter.nbytes for parameter in model.trainable(build(training=SMALL).model).values()]
    blocks = [-(-size // probe.BLOCK) * probe.BLOCK for size in sizes]
    return [*peaks, sum(2 * size + probe.BLOCK for size in blocks)]  # two moments and a step's number each


class Unmeasured:
    def phase(self, _):
        return contextlib.nullcontext()


LOOKS = (
    estimates,
    gpu_wanted,
    failures,
    command,
    longest,
    packed_loss,
    isolation,
    padding_is_finite,
    window,
    rounded_once_or_at_each_use,
    allocator,
    second_step,
)

if __name__ == "__main__":
    standard_output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    prepare_model()
    json.dump({look.__name__: look() for look in LOOKS}, standard_output)
    standard_output.close()
