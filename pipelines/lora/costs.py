"""What each determinism switch costs: the same steps as configured, with one switch flipped, with all flipped.

    python pipelines/lora/costs.py --config C.json --prepared DIR --output DIR [--inputs DIR]

The variants take turns in one process, NUM_ROUNDS rounds, each from a training that is built anew. What has to be in
the environment before Python starts (CUBLAS_WORKSPACE_CONFIG) is the same in all of them. Written is
{output}/costs.json: schema, device, gpu (its name, or null), and for each variant its name, `step_s` (the median over
all rounds), `tokens_per_s` (of targets, the median), and `is_repeatable`: whether all rounds had the same losses, bit
for bit.

Exit codes: 0 written, 2 something to correct.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from config import EXIT_USAGE, Config, PipelineError, load_config
from data import as_tensors, make_loader, windows
from state import build_training
from tracking import write_json
from train import train_step

NUM_WARM = 3
NUM_STEPS = 8
NUM_ROUNDS = 2
AS_CONFIGURED = "as configured"
ALL = "all of them flipped"
SWITCHES = (
    "deterministic_algorithms",
    "fill_uninitialized_memory",
    "cudnn_deterministic",
    "cudnn_benchmark",
    "mkldnn_deterministic",
    "tf32",
    "reduced_precision_sums",
)


def variants(config: Config) -> dict[str, Config]:
    """The configurations to compare, by name: those of single switches are called by what the switch is set to."""
    flipped = {name: not getattr(config.determinism, name) for name in SWITCHES}
    return {
        AS_CONFIGURED: config,
        **{f"{name}: {str(value).lower()}": _changed(config, **{name: value}) for name, value in flipped.items()},
        ALL: _changed(config, **flipped),
    }


def _changed(config: Config, **changes: bool) -> Config:
    return dataclasses.replace(config, determinism=dataclasses.replace(config.determinism, **changes))


def time_steps(config: Config, prepared: Path) -> list[tuple[float, float, int]]:
    """Make some steps of a new training; return loss, seconds and target tokens of each one after the warm-up."""
    # `set_determinism` switches these off where algorithms have to be deterministic, and never on.
    torch.backends.cuda.enable_mem_efficient_sdp(True)
    torch.backends.cuda.enable_cudnn_sdp(True)
    training = build_training(config, prepared)
    loader = make_loader(
        training.train_pairs, training.sampler, pad_token_id=training.model.config.pad_token_id, num_workers=0
    )
    batches = windows(map(as_tensors, loader), config.training.accumulation)
    steps = []
    for window in itertools.islice(itertools.cycle(batches), NUM_WARM + NUM_STEPS):
        began = time.perf_counter()
        record = train_step(training, window)  # ends by reading the norm, so a GPU has finished
        steps.append((record["loss"], time.perf_counter() - began, record["tokens"]))
    return steps[NUM_WARM:]


def costs(config: Config, prepared: Path) -> dict[str, Any]:
    """Measure every variant; return the document."""
    found = variants(config)
    rounds: dict[str, list[list[tuple[float, float, int]]]] = {name: [] for name in found}
    for _ in range(NUM_ROUNDS):
        for name, variant in found.items():
            rounds[name].append(time_steps(variant, prepared))
    on_cuda = config.training.device == "cuda"
    return {
        "schema": 1,
        "device": config.training.device,
        "gpu": torch.cuda.get_device_name() if on_cuda else None,
        "variants": [_entry(name, measured) for name, measured in rounds.items()],
    }


def _entry(name: str, rounds: list[list[tuple[float, float, int]]]) -> dict[str, Any]:
    steps = [step for one in rounds for step in one]
    losses = {tuple(loss for loss, _, _ in one) for one in rounds}
    return {
        "name": name,
        "step_s": statistics.median(seconds for _, seconds, _ in steps),
        "tokens_per_s": statistics.median(tokens / seconds for _, seconds, tokens in steps),
        "is_repeatable": len(losses) == 1,
    }


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, measure, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="the configuration, a JSON file")
    parser.add_argument("--inputs", type=Path, help="the inputs; only what was prepared is read")
    parser.add_argument("--prepared", type=Path, required=True, help="the folder that prepare.py wrote")
    parser.add_argument("--output", type=Path, required=True, help="where to write costs.json")
    options = parser.parse_args(arguments)
    try:
        document = costs(load_config(options.config), options.prepared)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "costs.json", document)
    for entry in document["variants"]:
        repeats = "repeats" if entry["is_repeatable"] else "does not repeat"
        print(f"{entry['name']}: {1000 * entry['step_s']:.1f} ms a step, {repeats}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
