"""LoRA fine-tuning, bit for bit repeatable: run it, kill it, resume it, and the adapter is the same.

    python pipelines/lora/train.py --config C.json --inputs DIR --prepared DIR --output DIR [--resume]

One training, from top to bottom:

    switches and seeds  ->  frozen base + fresh adapter  ->  AdamW, schedule, scaler
    for each epoch:     order and micro-batches by seed + epoch (batching.py)
      for each window:  `accumulation` micro-batches forward and backward, clip, step, schedule
                        every `save_every` steps: latest.pt
      at its end:       validate, then latest.pt, {exp}_epoch{N}_loss{L}.pt, and best.pt if it is the best;
                        the last epoch, if `patience` validations were no better
    adapter/            what PeftModel.from_pretrained loads

A step's loss is the sum over the window's target tokens divided by their number, whatever the micro-batches'
lengths: accumulation changes memory, not the result. An epoch whose micro-batches do not fill the last window
makes a step of what is left, averaged over its own tokens; no window reaches into the next epoch.
Checkpoints are taken between windows only, so no gradient has to be saved (what is in them: state.py).

Below {output}: metrics.jsonl, config.json, environment.json, checkpoints/, adapter/.
Exit codes: 0 finished, 2 something to correct (the message says what).
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

import checkpoint
import torch
import tracking
from config import EXIT_USAGE, Config, PipelineError, load_config
from data import IGNORED, Batch, as_tensors, make_loader, num_targets, windows
from determinism import require_hash_seed, untouched_rng
from model import half_type, model_inputs, save_adapter, trainable
from state import Training, build_training, capture_state, restore_state, validation_sampler


# ----------------------------------------------------------------------------- loss, step, validation
def loss_sum(training: Training, batch: Batch) -> torch.Tensor:
    """Run the model on a micro-batch; return the cross entropy summed over its target tokens, a float32 scalar."""
    settings = training.config.training
    batch = {name: tensor.to(training.device) for name, tensor in batch.items()}
    inputs = model_inputs(batch, training.config.model.attention)
    if settings.precision == "fp32":
        output = training.model(**inputs, use_cache=False)
    else:
        with torch.autocast(training.device.type, dtype=half_type(settings.precision)):
            output = training.model(**inputs, use_cache=False)
    # Position t predicts token t + 1: the labels move, for the logits are large, and the last position has none.
    targets = torch.nn.functional.pad(batch["labels"][:, 1:], (0, 1), value=IGNORED)
    return torch.nn.functional.cross_entropy(
        output.logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def train_step(training: Training, window: list[Batch]) -> dict[str, Any]:
    """Make one optimizer step from a window of micro-batches; return its metrics."""
    progress = training.progress
    training.model.train()
    num_tokens = sum(num_targets(batch) for batch in window)
    loss = 0.0
    for batch in window:
        share = loss_sum(training, batch) / num_tokens
        training.scaler.scale(share).backward()
        loss += share.item()
    require_finite(loss, f"the loss of step {progress.global_step + 1}")
    record = {"loss": loss, "tokens": num_tokens, **update(training)}
    progress.global_step += 1
    progress.micro_position += len(window)
    progress.tokens_seen += num_tokens
    progress.loss = loss
    progress.epoch_loss_sum += loss * num_tokens
    progress.epoch_tokens += num_tokens
    return record


def update(training: Training) -> dict[str, Any]:
    """Clip the accumulated gradients, step, schedule, and forget the gradients; return the step's own metrics."""
    training.scaler.unscale_(training.optimizer)
    # The norm is reported before clipping; max_grad_norm 0 means no clipping.
    grad_norm = torch.nn.utils.clip_grad_norm_(
        trainable(training.model).values(), training.config.training.max_grad_norm or math.inf
    ).item()
    learning_rate = training.scheduler.get_last_lr()[0]
    scale = training.scaler.get_scale()
    training.scaler.step(training.optimizer)
    training.scaler.update()
    skipped = training.scaler.get_scale() < scale  # the gradients overflowed: a step that changed nothing
    if not skipped:
        training.scheduler.step()
    training.optimizer.zero_grad(set_to_none=True)
    # JSON has no infinity; a norm that is not finite stands in a step that the scaler skipped.
    return {
        "lr": learning_rate,
        "grad_norm": grad_norm if math.isfinite(grad_norm) else None,
        "skipped": skipped,
    }


def validate(training: Training) -> float:
    """Return the mean cross entropy over all target tokens of the validation pairs, in nats.

    The order is fixed, dropout is off, and the generators are given back as they were found: whether, when and on
    how much a training validates changes nothing in it.
    """
    pairs, sampler = training.validation_pairs, validation_sampler(training)
    total, num_tokens = 0.0, 0
    with untouched_rng(), torch.no_grad():
        training.model.eval()
        for batch in make_loader(pairs, sampler, pad_token_id=training.model.config.pad_token_id, num_workers=0):
            total += loss_sum(training, batch).item()
            num_tokens += num_targets(batch)
        training.model.train()
    require_finite(total, f"the validation loss after step {training.progress.global_step}")
    return total / num_tokens


def require_finite(loss: float, name: str) -> None:
    """Stop a training that has diverged: no later step can mend it."""
    if not math.isfinite(loss):
        raise PipelineError(f"{name} is {loss}", "lower training.learning_rate")


# ----------------------------------------------------------------------------- checkpoints
def save_latest(training: Training, metrics: tracking.Metrics, output: Path) -> None:
    """Save between two epochs' ends: `latest.pt` only."""
    metrics.write("checkpoint", training.progress.global_step, paths=["checkpoints/latest.pt"])
    metrics.flush()
    checkpoint.save(output / "checkpoints" / "latest.pt", capture_state(training, metrics))


def save_epoch(training: Training, metrics: tracking.Metrics, output: Path) -> None:
    """Save at an epoch's end: `latest.pt`, the epoch's own file, and `best.pt` if no epoch was better."""
    names = epoch_files(training)
    metrics.write("checkpoint", training.progress.global_step, paths=[f"checkpoints/{name}" for name in names])
    metrics.flush()
    state = capture_state(training, metrics)
    for name in names:
        checkpoint.save(output / "checkpoints" / name, state)


def epoch_files(training: Training) -> list[str]:
    """Name the files of an epoch's end, in the order they are written in."""
    progress = training.progress
    assert progress.validation_loss is not None
    names = ["latest.pt", checkpoint.epoch_name(training.config.experiment, progress.epoch, progress.validation_loss)]
    return [*names, "best.pt"] if progress.best_step == progress.global_step else names


# ----------------------------------------------------------------------------- the loop
def train_epoch(training: Training, metrics: tracking.Metrics, output: Path) -> None:
    """Train what is left of the current epoch, save on the way, validate and save at its end."""
    settings, progress = training.config.training, training.progress
    epoch, started = progress.epoch + 1, time.perf_counter()
    training.sampler.set_epoch(progress.epoch, progress.micro_position)
    num_batches = training.sampler.num_batches(progress.epoch)
    loader = make_loader(
        training.train_pairs,
        training.sampler,
        pad_token_id=training.model.config.pad_token_id,
        num_workers=training.config.data.num_workers,
    )
    before = time.perf_counter()
    for window in windows(map(as_tensors, loader), settings.accumulation):
        record = train_step(training, window)
        seconds = time.perf_counter() - before
        metrics.write(
            "step",
            progress.global_step,
            epoch=epoch,
            **record,
            seconds=seconds,
            tokens_per_s=record["tokens"] / seconds,
            **tracking.memory(settings.device),
        )
        print(
            f"step {progress.global_step}  epoch {epoch}  loss {record['loss']:.4f}  lr {record['lr']:.3e}  "
            f"grad norm {record['grad_norm']}  {seconds:.2f} s",
            flush=True,
        )
        at_epochs_end = progress.micro_position == num_batches
        if progress.global_step % settings.save_every == 0 and not at_epochs_end:
            save_latest(training, metrics, output)
        before = time.perf_counter()
    finish_epoch(training, metrics, time.perf_counter() - started)
    save_epoch(training, metrics, output)


def finish_epoch(training: Training, metrics: tracking.Metrics, seconds: float) -> None:
    """Validate, keep the best loss, write the epoch's record, and turn to the next epoch."""
    progress, device = training.progress, training.config.training.device
    progress.epoch += 1
    progress.micro_position = 0
    progress.validation_loss = validate(training)
    if progress.best_loss is None or progress.validation_loss < progress.best_loss:
        progress.best_loss, progress.best_step = progress.validation_loss, progress.global_step
    training.stopping.update(progress.validation_loss)
    metrics.write(
        "epoch",
        progress.global_step,
        epoch=progress.epoch,
        tokens=progress.epoch_tokens,
        loss=progress.epoch_loss_sum / progress.epoch_tokens,
        validation_loss=progress.validation_loss,
        best_loss=progress.best_loss,
        best_step=progress.best_step,
        num_stale=training.stopping.num_stale,
        seconds=seconds,
        **tracking.memory(device),
    )
    print(f"epoch {progress.epoch}  validation loss {progress.validation_loss:.4f}", flush=True)
    if training.stopping.is_due and progress.epoch < training.config.training.epochs:
        print(f"ended early: no better in {training.stopping.num_stale} validations", flush=True)
    progress.epoch_loss_sum, progress.epoch_tokens = 0.0, 0


def train(config: Config, prepared: Path, output: Path, resume: bool = False) -> Training:
    """Train from the start, or from the newest sound checkpoint in `output`, to the end; write the adapter.

    Raises:
        PipelineError: the configuration, the prepared data, or what lies in `output` forbids it.
    """
    checkpoints = output / "checkpoints"
    if not resume and checkpoints.is_dir() and any(checkpoints.iterdir()):
        raise PipelineError(f"{checkpoints} holds a training already", "add --resume, or choose an empty --output")
    checkpoints.mkdir(parents=True, exist_ok=True)
    state, report = checkpoint.load_newest(checkpoints, config) if resume else (None, [])
    training = build_training(config, prepared)
    tracking.write_json(output / "config.json", config.as_dict())
    tracking.write_json(output / "environment.json", tracking.environment(config.training.device))
    metrics = tracking.Metrics(output / "metrics.jsonl", 0 if state is None else state["metrics_lines"], config)
    plan = f"{sum(training.steps)} steps in {config.training.epochs} epochs: {' + '.join(map(str, training.steps))}"
    print("\n".join([*report, *(["starting at step 0"] if state is None else []), plan]), flush=True)
    if state is None:
        training.progress.validation_loss = validate(training)
        metrics.write("validation", 0, validation_loss=training.progress.validation_loss)
    else:
        restore_state(training, state)
        if training.progress.micro_position == 0:  # an epoch's end: a kill may have fallen between its files
            for name in epoch_files(training):
                checkpoint.save(checkpoints / name, state)
    while not training.is_finished:
        train_epoch(training, metrics, output)
    save_adapter(training.model, output / "adapter")
    metrics.close()
    return training


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, train, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="the configuration, a JSON file")
    parser.add_argument("--inputs", type=Path, help="the inputs; the training itself reads only what was prepared")
    parser.add_argument("--prepared", type=Path, required=True, help="the folder that prepare.py wrote")
    parser.add_argument("--output", type=Path, required=True, help="where to write; with --resume, where to go on")
    parser.add_argument("--resume", action="store_true", help="go on from the newest sound checkpoint in --output")
    options = parser.parse_args(arguments)
    try:
        config = load_config(options.config)
        require_hash_seed(config.determinism)
        train(config, options.prepared, options.output, options.resume)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main())
