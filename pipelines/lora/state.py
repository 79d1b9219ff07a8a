"""All that a training consists of: built at step 0, captured between two windows, and restored.

What `capture_state` returns is complete: everything that changes while a training runs, and what it must be held
against when it goes on (configuration, data). The data's order and the schedule are functions of what is in it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import checkpoint
import torch
import tracking
from batching import EpochSampler
from config import Config, PipelineError
from data import Pair, digest, load_pairs
from determinism import restore_rng, rng_state, seed_everything, set_determinism
from model import build_model, load_trainable, trainable
from schedule import learning_rate_factor
from stopping import EarlyStopping
from torch.optim.lr_scheduler import LambdaLR


@dataclass(slots=True)
class Progress:
    """Where the training stands; saved in every checkpoint, so plain values only."""

    epoch: int = 0  # epochs completed
    micro_position: int = 0  # micro-batches of the current epoch consumed
    global_step: int = 0  # optimizer steps done
    tokens_seen: int = 0  # target tokens, all steps
    loss: float | None = None  # of the last step
    epoch_loss_sum: float = 0.0  # of the current epoch, summed over its target tokens
    epoch_tokens: int = 0
    validation_loss: float | None = None  # of the last validation
    best_loss: float | None = None  # lowest validation loss of an epoch's end
    best_step: int | None = None


@dataclass(slots=True)
class Training:
    """All that a training consists of while it runs."""

    config: Config
    device: torch.device
    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: LambdaLR
    scaler: torch.amp.GradScaler
    sampler: EpochSampler
    stopping: EarlyStopping
    train_pairs: list[Pair]
    validation_pairs: list[Pair]
    data: str  # digest of all prepared pairs
    steps: list[int]  # optimizer steps of each epoch
    progress: Progress

    @property
    def is_finished(self) -> bool:
        """Whether there is no epoch left, or no reason for one."""
        return self.progress.epoch >= self.config.training.epochs or self.stopping.is_due


def build_training(config: Config, prepared: Path) -> Training:
    """Build a training at step 0. Seeds everything first: model and adapter depend on it.

    Raises:
        PipelineError: no such device, no or unfit prepared data, a model without the targets, or zero steps.
    """
    settings = config.training
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise PipelineError("training.device is cuda, but there is no CUDA device", "set it to cpu, or find a GPU")
    set_determinism(config.determinism, settings.device)
    seed_everything(config.seed)
    train_pairs, validation_pairs = load_pairs(prepared, "train"), load_pairs(prepared, "validation")
    sampler = EpochSampler(
        num_pairs=len(train_pairs),
        batch_size=settings.micro_batch_size,
        seed=config.seed,
        pairs_per_epoch=config.data.pairs_per_epoch,
        batching=config.data.batching,
        lengths=[len(pair.input_ids) for pair in train_pairs],
        row_length=config.data.row_length,
    )
    # Full windows, and one more if micro-batches are left.
    steps = [-(-sampler.num_batches(epoch) // settings.accumulation) for epoch in range(settings.epochs)]
    num_steps = sum(steps)
    if num_steps == 0:
        raise PipelineError("the training has zero steps", "set training.epochs to at least 1")
    device = torch.device(settings.device)
    model = build_model(config, prepared).to(device)
    optimizer = torch.optim.AdamW(
        trainable(model).values(),
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
        fused=settings.fused or None,  # False would also forbid what torch chooses on a GPU
    )
    return Training(
        config=config,
        device=device,
        model=model,
        optimizer=optimizer,
        scheduler=LambdaLR(optimizer, lambda step: learning_rate_factor(step, num_steps, settings)),
        scaler=torch.amp.GradScaler(settings.device, enabled=settings.precision == "fp16"),  # else it passes through
        sampler=sampler,
        stopping=EarlyStopping(settings.patience, settings.min_delta),
        train_pairs=train_pairs,
        validation_pairs=validation_pairs[: settings.validation_pairs],
        data=digest(train_pairs, validation_pairs),
        steps=steps,
        progress=Progress(),
    )


def validation_sampler(training: Training) -> EpochSampler:
    """Return the validation's own order, the same at each of them; it shares nothing with the training's."""
    settings = training.config.training
    return EpochSampler(
        num_pairs=len(training.validation_pairs), batch_size=settings.validation_batch_size, seed=training.config.seed
    )


def capture_state(training: Training, metrics: tracking.Metrics) -> checkpoint.State:
    """Collect the complete state between two windows."""
    progress = training.progress
    return {
        "format": checkpoint.FORMAT,
        "experiment": training.config.experiment,
        "config": training.config.as_dict(),
        "seed": training.config.seed,
        "epoch": progress.epoch,
        "global_step": progress.global_step,
        "micro_position": progress.micro_position,
        "loss": progress.loss,
        "best_loss": progress.best_loss,
        "model": {name: parameter.detach() for name, parameter in trainable(training.model).items()},
        "optimizer": training.optimizer.state_dict(),
        "scheduler": training.scheduler.state_dict(),
        "scaler": training.scaler.state_dict(),
        "rng": rng_state(),
        "sampler": training.sampler.state_dict(progress.micro_position),
        "early_stopping": training.stopping.state_dict(),
        "data": training.data,
        "progress": asdict(progress),
        "metrics_lines": metrics.num_lines,
    }


def restore_state(training: Training, state: checkpoint.State) -> None:
    """Put a training back into a saved state; the generators last, when nothing is left that could draw.

    Raises:
        PipelineError: the state belongs to another model, other data or another machine.
    """
    if state["data"] != training.data:
        raise PipelineError(
            "the checkpoint was made with other prepared pairs", "resume with the folder it was made with as --prepared"
        )
    load_trainable(training.model, state["model"])
    training.optimizer.load_state_dict(state["optimizer"])
    training.scheduler.load_state_dict(state["scheduler"])
    training.scaler.load_state_dict(state["scaler"])
    training.sampler.load_state_dict(state["sampler"])
    training.stopping.load_state_dict(state["early_stopping"])
    training.progress = Progress(**state["progress"])
    restore_rng(state["rng"])
