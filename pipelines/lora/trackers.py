"""TensorBoard and Weights & Biases: what metrics.jsonl says, where people look at it. No network, no key, ever.

Below {output}/tracking:

    tensorboard/events.out.tfevents.*       one file for each process that trained
    wandb/<n>/wandb/offline-run-*/          one offline run for each process, n = 1, 2, ...

Both show every step of the training once, killed and resumed or not. TensorBoard: everything up to a checkpoint is on
the disk before the checkpoint is, and the file of a resumed process tells readers to drop what earlier ones have
beyond the checkpoint (its `purge_step`). wandb: a resumed process starts a run with the same id and logs again what
metrics.jsonl kept, so the run with the highest n is whole, and the earlier ones are leftovers. Neither draws from the
training's generators; wandb's run id is given, because it would draw one. Both are imported only if they are asked for.

A tracker that cannot start stops the training before it has begun. One that fails later is dropped, and stderr says
so: metrics.jsonl goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from config import Config, PipelineError

FOLDER = "tracking"
SYSTEM = ("rss_bytes", "vram_bytes", "vram_allocated_bytes", "cpu_percent", "gpu_percent")
START_TIMEOUT_S = 600.0  # on a machine with ten times too much to do, the 30 of wandb's service nearly were too few
Record = dict[str, Any]


class Tracker(Protocol):
    """One place that records go to."""

    def write(self, kind: str, step: int, values: Record) -> None:
        """Log one record of metrics.jsonl."""
        ...

    def flush(self) -> None:
        """Return when what was written is on the disk, if the tracker has to keep it for a resume."""
        ...

    def close(self) -> None:
        """Write the end and let go of files and processes."""
        ...


class Trackers:
    """The trackers that a configuration asks for, as one; one that fails is dropped and the others go on."""

    def __init__(self, config: Config, output: Path, kept: list[Record]) -> None:
        """Start them; `kept` are the records of metrics.jsonl up to the checkpoint that a resume goes on from.

        Raises:
            PipelineError: one could not be started.
        """
        folder = output / FOLDER
        if not kept and folder.is_dir():
            shutil.rmtree(folder)  # a start from nothing: what a process without a checkpoint left is not its past
        wanted: dict[str, Callable[..., Tracker]] = {"tensorboard": TensorBoard, "wandb": Wandb}
        self._running: dict[str, Tracker] = {}
        for name, tracker in wanted.items():
            if getattr(config.tracking, name):
                try:
                    self._running[name] = tracker(config, folder / name, kept)
                except Exception as error:
                    raise PipelineError(
                        f"{name} could not be started: {type(error).__name__}: {error}",
                        f"set tracking.{name} to false, or make {folder / name} writable",
                    ) from error

    def write(self, kind: str, step: int, values: Record) -> None:
        """Log one record everywhere."""
        self._each(lambda tracker: tracker.write(kind, step, values))

    def flush(self) -> None:
        """Flush every tracker."""
        self._each(lambda tracker: tracker.flush())

    def close(self) -> None:
        """Close every tracker."""
        self._each(lambda tracker: tracker.close())

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._running.items()):
            try:
                act(tracker)
            except Exception as error:  # a full disk, a service that died: no reason to lose the training
                del self._running[name]
                print(f"warning: {name} stopped logging: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


def scalars(kind: str, values: Record) -> dict[str, float]:
    """Return the numbers of a record under the names that the trackers show them by.

    `train/*` at each step, `system/*` at each step, `epoch/*` at each epoch's end, and `validation/loss`, whenever
    one was measured. Nulls and texts are left out.
    """
    named: dict[str, float] = {}
    for key, value in values.items():
        if not isinstance(value, (bool, int, float)):
            continue
        if key == "validation_loss":
            named["validation/loss"] = float(value)
        elif kind == "step":
            named[f"{'system' if key in SYSTEM else 'train'}/{key}"] = float(value)
        else:
            named[f"{kind}/{key}"] = float(value)
    return named


def texts(kind: str, values: Record) -> dict[str, str]:
    """Return the texts of a record, lists of them with a line for each: `checkpoint/paths`, above all."""
    named: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, str):
            named[f"{kind}/{key}"] = value
        elif isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            named[f"{kind}/{key}"] = "\n".join(value)
    return named


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Return a nested configuration as `training.learning_rate: 0.01`; lists as text, nulls left out."""
    flattened: dict[str, bool | int | float | str] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flattened |= flat(value, f"{prefix}{key}.")
        elif value is not None:
            flattened[prefix + key] = ", ".join(map(str, value)) if isinstance(value, list) else value
    return flattened


def run_id(config: Config) -> str:
    """Name a training for wandb: by experiment, seed and a digest of the whole configuration; no chance in it."""
    digest = hashlib.sha256(json.dumps(config.as_dict(), sort_keys=True).encode("utf-8")).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_-]', '-', config.experiment)[:80]}-{config.seed}-{digest[:8]}"


class TensorBoard:
    """Event files, through torch.utils.tensorboard."""

    def __init__(self, config: Config, folder: Path, kept: list[Record]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams, text

        self._summary, self._text, self._folder = Summary, text, folder
        _sort_first(folder)
        self._writer = SummaryWriter(str(folder), purge_step=kept[-1]["step"] + 1 if kept else None)
        shown = {"validation/loss": 0, "epoch/loss": 0}  # the values beside the hyperparameters in TensorBoard's table
        experiment, begin, self._end = hparams(flat(config.as_dict()), shown)
        if not kept:
            whole = json.dumps(config.as_dict(), indent=2, sort_keys=True)
            for summary in (text("config", f"```json\n{whole}\n```"), experiment, begin):
                self._writer.file_writer.add_summary(summary, 0)
        self.flush()

    def write(self, kind: str, step: int, values: Record) -> None:
        """Log one record as one event: an event is a write to the file."""
        points = [self._summary.Value(tag=name, simple_value=value) for name, value in scalars(kind, values).items()]
        for name, value in texts(kind, values).items():
            points.extend(self._text(name, value).value)
        self._writer.file_writer.add_summary(self._summary(value=points), step)

    def flush(self) -> None:
        """Return when every event is on the disk."""
        self._writer.flush()  # the writer has a thread; this waits for it
        with _event_files(self._folder)[-1].open("rb") as file:
            os.fsync(file.fileno())

    def close(self) -> None:
        """Say that the training has ended, and close the file."""
        self._writer.file_writer.add_summary(self._end, 0)
        self.flush()
        self._writer.close()


def _event_files(folder: Path) -> list[Path]:
    """Return the event files in the order in which TensorBoard reads them: by name, which starts with a time."""
    return sorted(folder.glob("events.out.tfevents.*"))


def _sort_first(folder: Path) -> None:
    """Give the files of earlier processes names that sort before any new one, in the order they have.

    A new file is named by the clock in whole seconds, the host and the process, so two processes within a second, or
    a clock that was set back, would put the older one behind: readers would then drop what they should keep.
    """
    for number, path in enumerate(_event_files(folder), start=1):
        _, _, _, _, rest = path.name.split(".", 4)
        path.rename(path.with_name(f"events.out.tfevents.{number:010d}.{rest}"))


class Wandb:
    """An offline run, through wandb and the service process that it starts; the process ends with this one."""

    def __init__(self, config: Config, folder: Path, kept: list[Record]) -> None:
        number = 1 + max((int(path.name) for path in folder.glob("*") if path.name.isdigit()), default=0)
        own = folder / str(number)
        own.mkdir(parents=True)
        # Else these lie below a home folder, which a user without a name does not have; errors are for the network.
        folders = {f"WANDB_{name.upper()}_DIR": str(own / name) for name in ("cache", "config", "data")}
        os.environ.update(folders, WANDB_ERROR_REPORTING="false", WANDB_X_SERVICE_WAIT=str(START_TIMEOUT_S))
        import wandb

        self._teardown = wandb.teardown
        self._run = wandb.init(
            mode="offline",
            dir=own,
            id=run_id(config),
            project="lora",
            name=config.experiment,
            config=config.as_dict(),
            settings=wandb.Settings(
                silent=True,
                console="off",
                symlink=False,
                save_code=False,
                disable_git=True,
                x_disable_meta=True,
                x_disable_machine_info=True,
                x_disable_stats=True,
                x_save_requirements=False,
                init_timeout=START_TIMEOUT_S,
                x_transaction_log_flush_interval=1.0,  # seconds: what a killed process may leave unwritten
            ),
        )
        path = Path(self._run.dir) / "experiment.json"  # `config.yaml` there is wandb's own, without the types
        path.write_text(json.dumps(config.as_dict(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
        self._run.save(str(path), base_path=self._run.dir, policy="now")
        for record in kept:
            self.write(record["kind"], record["step"], {k: v for k, v in record.items() if k not in ("kind", "step")})

    def write(self, kind: str, step: int, values: Record) -> None:
        """Log one record; those of one step become one row."""
        self._run.log({**scalars(kind, values), **texts(kind, values)}, step=step)

    def flush(self) -> None:
        """Nothing to wait for: a resume logs again what metrics.jsonl kept."""

    def close(self) -> None:
        """End the run, and the service process."""
        self._run.finish()
        self._teardown()
