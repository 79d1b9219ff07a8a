"""Write tracking files with the libraries themselves, in the interpreter that has them. Usage: FOLDER"""

import os
import sys
from pathlib import Path

FOLDER = Path(sys.argv[1])


def tensorboard():
    import torch
    from torch.utils.tensorboard import SummaryWriter

    def writer(name, **options):
        return SummaryWriter(str(FOLDER / "tensorboard" / name), **options)

    with writer("first") as run:
        run.add_text("config", "seed: 17", 0)
        for step in range(6):
            run.add_scalar("train/loss", 1.0 / (step + 1), step)
        run.add_scalar("validation/loss", 0.5, 3)
        run.add_text("checkpoint/paths", "checkpoints/latest.pt ü", 3)
    with writer("resumed", purge_step=4) as run:
        for step in range(4, 8):
            run.add_scalar("train/loss", 2.0, step)
    with writer("tensors") as run:
        for step in (-3, 2**40):
            run.add_scalar("train/loss", 1.0, step, new_style=True)
        run.add_histogram("weights", torch.ones(2), 5)
    with writer("hparams") as run:
        run.add_hparams({"lr": 0.1, "name": "a", "bf16": True}, {"loss": 1.0}, run_name="run")
    with writer("long") as run:
        run.add_text("note", "x" * 100_000, 1)


def wandb():
    os.environ.update(WANDB_CACHE_DIR=str(FOLDER / "cache"), WANDB_ERROR_REPORTING="false", HOME=str(FOLDER))
    import wandb

    def run(name, config=None, **settings):
        folder = FOLDER / "wandb" / name
        folder.mkdir(parents=True)
        return wandb.init(
            mode="offline",
            dir=folder,
            id=f"id-{name}",
            config=config,
            settings=wandb.Settings(
                silent=True,
                console="off",
                symlink=False,
                x_disable_stats=True,
                x_disable_meta=True,
                x_save_requirements=False,
                **settings,
            ),
        )

    with run("plain", {"seed": 17, "training": {"lr": 0.1}}) as made:
        for step in range(6):
            made.log({"train/loss": 1.0 / (step + 1), "nested": {"a": step, "b": [1, 2]}}, step=step)
        made.log({"checkpoint/paths": 'checkpoints/"latest".pt ü', "nothing": None}, step=6)
        made.log({"nan": float("nan"), "yes": True}, step=6)
    with run("typed", x_history_value_encoding="json,typed") as made:
        made.log({"loss": 0.5, "count": 3, "yes": False, "text": "a", "list": [1]}, step=2)
        made.config["late"] = 3
    with run("long") as made:
        for step in range(300):  # more than one block of 32 KiB
            made.log({f"key{key}": step for key in range(10)}, step=step)
        made.log({"text": "x" * 100_000}, step=300)
    wandb.teardown()


if __name__ == "__main__":
    tensorboard()
    wandb()
