"""Is the bare loop of pipelines/lora the training it claims to be? Compare it with transformers' Trainer.

    python tests/engine/parity_trainer.py --config tiny.json --prepared DIR

A plain script, for it runs inside the image: no pytest, no harness. Both loops get the same initial adapter, the same
micro-batches in the same order, AdamW, schedule, clipping and accumulation, no dropout, for 20 steps in two epochs
whose last window is short and whose last micro-batch is smaller. Printed as JSON are both loss curves, the
largest difference, and the noise it is held against: how far the Trainer differs from itself when the micro-batches
of each window come in reverse order, which is the same training in exact arithmetic.

Exit codes: 0 no difference above the noise, 1 a difference, 2 something to correct.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "pipelines" / "lora"))

import torch
from config import Config, PipelineError, load_config
from data import EpochSampler, load_pairs, make_loader
from determinism import seed_everything
from model import build_model, trainable
from train import train
from transformers import Trainer, TrainerCallback, TrainingArguments

NUM_STEPS = 20


@dataclasses.dataclass
class Curve:
    """What one training leaves: losses and learning rates of its steps, and its adapter."""

    losses: list[float]
    learning_rates: list[float]
    adapter: dict[str, torch.Tensor]


def parity_config(config: Config) -> Config:
    """Shape any configuration into 2 epochs of 29 micro-batches: 9 windows of 3, and one of 2 with 3 pairs."""
    replace = dataclasses.replace
    return replace(
        config,
        experiment="parity",
        data=replace(config.data, pairs_per_epoch=57, num_workers=0),
        lora=replace(config.lora, dropout=0.0),
        training=replace(
            config.training,
            epochs=2,
            micro_batch_size=2,
            accumulation=3,
            precision="fp32",
            device="cpu",
            max_grad_norm=1.0,
            schedule="cosine",
            warmup_steps=2,
            weight_decay=0.01,
        ),
    )


def our_curve(config: Config, prepared: Path) -> Curve:
    """Train with the pipeline's loop."""
    with tempfile.TemporaryDirectory() as folder:
        training = train(config, prepared, Path(folder))
        lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    return Curve([s["loss"] for s in steps], [s["lr"] for s in steps], _weights(training.model))


class ReversedWindows(EpochSampler):
    """The same micro-batches in the same windows, each window from its last to its first."""

    size = 3

    def __iter__(self) -> Iterator[list[int]]:
        batches = list(super().__iter__())
        for start in range(0, len(batches), self.size):
            yield from reversed(batches[start : start + self.size])


class WindowLosses(TrainerCallback):
    """Sums the Trainer's micro-batch losses, each already divided by the window's tokens, into one for each step."""

    def __init__(self) -> None:
        self.micro: list[float] = []
        self.steps: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.steps.append(sum(self.micro))
        self.micro.clear()


class TrainerOnOurBatches(Trainer):
    """The Trainer, untouched but for where its micro-batches come from and who reads its losses."""

    def __init__(self, *, loader: Any, losses: WindowLosses, **arguments: Any) -> None:
        super().__init__(callbacks=[losses], train_dataset=loader.dataset, **arguments)
        self.loader = loader
        self.loader.set_epoch = loader.batch_sampler.set_epoch  # the Trainer calls it before each epoch, as ours does
        self.losses = losses

    def get_train_dataloader(self) -> Any:
        return self.loader

    def training_step(self, *arguments: Any, **keywords: Any) -> torch.Tensor:
        loss = super().training_step(*arguments, **keywords)
        self.losses.micro.append(loss.item())
        return loss


def trainer_curve(config: Config, prepared: Path, sampler_kind: type[EpochSampler]) -> Curve:
    """Train with transformers' Trainer."""
    settings = config.training
    seed_everything(config.seed)
    pairs = load_pairs(prepared, "train")
    model = build_model(config, prepared)
    sampler = sampler_kind(
        num_pairs=len(pairs),
        batch_size=settings.micro_batch_size,
        seed=config.seed,
        pairs_per_epoch=config.data.pairs_per_epoch,
    )
    losses = WindowLosses()
    with tempfile.TemporaryDirectory() as folder:
        trainer = TrainerOnOurBatches(
            model=model,
            loader=make_loader(pairs, sampler, pad_token_id=model.config.pad_token_id, num_workers=0),
            losses=losses,
            args=TrainingArguments(
                output_dir=folder,
                use_cpu=True,
                seed=config.seed,
                num_train_epochs=settings.epochs,
                gradient_accumulation_steps=settings.accumulation,
                learning_rate=settings.learning_rate,
                lr_scheduler_type=settings.schedule,
                warmup_steps=settings.warmup_steps,
                optim="adamw_torch_fused" if settings.fused else "adamw_torch",
                weight_decay=settings.weight_decay,
                adam_beta1=settings.beta1,
                adam_beta2=settings.beta2,
                adam_epsilon=settings.epsilon,
                max_grad_norm=settings.max_grad_norm,
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
        )
        trainer.train()
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    return Curve(losses.steps, rates, _weights(model))


def _weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainable(model).items()}


def loss_difference(one: Curve, other: Curve) -> float:
    """Return the largest absolute difference of two loss curves of the same length."""
    return max(abs(a - b) for a, b in zip(one.losses, other.losses, strict=True))


def adapter_difference(one: Curve, other: Curve) -> float:
    """Return the largest absolute difference of two adapters' weights."""
    return max((one.adapter[name] - other.adapter[name]).abs().max().item() for name in one.adapter)


def compare(config: Config, prepared: Path) -> dict[str, Any]:
    """Run the trainings and hold the difference against the noise."""
    ours = our_curve(config, prepared)  # first: it sets the determinism switches for all of them
    theirs = trainer_curve(config, prepared, EpochSampler)
    again = trainer_curve(config, prepared, EpochSampler)
    permuted = trainer_curve(config, prepared, ReversedWindows)
    report = {
        "steps": len(ours.losses),
        "ours": ours.losses,
        "trainer": theirs.losses,
        "max_loss_difference": loss_difference(ours, theirs),
        "max_adapter_difference": adapter_difference(ours, theirs),
        "trainer_twice": {"loss": loss_difference(theirs, again), "adapter": adapter_difference(theirs, again)},
        "noise": {"loss": loss_difference(theirs, permuted), "adapter": adapter_difference(theirs, permuted)},
        "max_learning_rate_difference": max(
            abs(a - b) for a, b in zip(ours.learning_rates, theirs.learning_rates, strict=True)
        ),
    }
    report["parity"] = (
        report["steps"] == NUM_STEPS
        and report["max_loss_difference"] <= report["noise"]["loss"]
        and report["max_adapter_difference"] <= report["noise"]["adapter"]
        and report["max_learning_rate_difference"] <= 1e-12
        and ours.losses[-1] < ours.losses[0]
    )
    return report


def main() -> int:
    """Parse the command line, compare, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="a configuration of pipelines/lora, a JSON file")
    parser.add_argument("--prepared", type=Path, required=True, help="the folder that prepare.py wrote for it")
    options = parser.parse_args()
    standard_output, sys.stdout = sys.stdout, sys.stderr  # both loops print; standard output holds JSON only
    try:
        report = compare(parity_config(load_config(options.config)), options.prepared)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(report, indent=2), file=standard_output)
    return 0 if report["parity"] else 1


if __name__ == "__main__":
    sys.exit(main())
