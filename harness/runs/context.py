"""What the runs of one certify have in common: the experiment, where it runs, and what every process is given."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.documents.experiment import Experiment
from harness.documents.run import Fault
from harness.documents.scope import Prefix
from harness.errors import Interrupted
from harness.evidence.tensor_digest import ALGORITHM
from harness.runs.continuation import Continuation
from harness.runs.divergence_monitor import DivergenceMonitor
from harness.runs.run_watch import Listener
from harness.runs.sandbox import Mount, Sandbox
from harness.runs.variation import Variation


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """Everything that the runs of one certify have in common.

    Attributes:
        folder: `runs/<experiment>/<run id>`.
        experiment: as far as it is run.
        inputs: where each input lies, by name.
        scope: which prefix is run; None for the whole training.
        monitor: sees every step of a prefix, and says which trajectories may stop.
        own: a folder of one training's own, whose copies `code` and the others are; None for what is shared.
        algorithm: of the digests of tensors, which a replay has to have in common with its record.
        continuation: notes what is finished, and knows what was; None where nothing is to be continued.
        cancel: set when somebody pressed Ctrl-C; every run ends and its container is removed.
    """

    experiment: Experiment
    name: str
    run_id: str
    commit: str
    sandbox: Sandbox
    folder: Path
    code: Path
    config: Path
    recorder: Path
    inputs: Mapping[str, Path]
    prepared: Path | None
    listener: Listener
    cancel: threading.Event
    scope: Prefix | None = None
    monitor: DivergenceMonitor | None = None
    own: Path | None = None
    algorithm: str = ALGORITHM
    continuation: Continuation | None = None

    @property
    def stops(self) -> tuple[Fault, ...]:
        """What ends every run that lives so long: the end of the prefix, or nothing."""
        return () if self.scope is None else (self.scope.stop,)

    def is_over(self, trajectory: str) -> bool:
        """Whether nothing is learned from more steps of a trajectory: another one, or it, has differed."""
        return self.monitor is not None and self.monitor.is_over(trajectory)

    def mounts(self) -> dict[str, Mount]:
        """What every process sees, read-only, by the names that commands use.

        The folder `{inputs}` holds each input; in a container it is not mounted itself, only what is in it.
        """
        root = (self.own or self.folder) / "inputs"
        root.mkdir(exist_ok=True)
        mounts = {
            "code": self.mount(self.code, "/code"),
            "config": self.mount(self.config, "/config/config.json"),
            "recorder": self.mount(self.recorder, "/recorder"),
            "inputs": dataclasses.replace(self.mount(root, "/inputs"), is_mounted=False),
        }
        if self.prepared is not None:
            mounts["prepared"] = self.mount(self.prepared, "/prepared")
        for name, path in sorted(self.inputs.items()):
            with contextlib.suppress(FileExistsError):  # the two sides of a conversion look at the same time
                (root / name).symlink_to(path)
            mounts[f"inputs/{name}"] = dataclasses.replace(self.mount(root / name, f"/inputs/{name}"), source=path)
        return mounts

    def mount(self, source: Path, target: str, *, is_writable: bool = False) -> Mount:
        """A mount; every training finds its own at one path, also where the host mounts nothing."""
        at = None
        if self.own is not None and source.is_relative_to(self.folder):
            at = self.own.parent / "at" / target.lstrip("/")
        return Mount(source=source, target=target, is_writable=is_writable, at=at)

    def cancel_if_asked(self) -> None:
        """End this run when somebody pressed Ctrl-C.

        Raises:
            Interrupted: somebody did.
        """
        if self.cancel.is_set():
            raise Interrupted("interrupted", "finished runs are kept; start again when you like")

    def environment(self, variation: Variation) -> dict[str, str]:
        """What a process is given before its interpreter starts: what is declared, over what Python needs to repeat."""
        return {
            "PYTHONHASHSEED": variation.hash_seed,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "TZ": variation.time_zone,
            **self.experiment.environment,
            "HARNESS_COMMIT": self.commit,
        }
