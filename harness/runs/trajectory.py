"""Trajectories: the runs that form one training, executed in order in one sandbox, each leaving its evidence behind.

A trajectory's folder holds `output/` (what the pipeline writes), `runs/<n>/` (what the recorder writes), `log-<n>.txt`
and `run-<n>.json` (what the host saw). Only the first two are seen by the process, and of `runs/` only its own folder
is writable to it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.documents.experiment import Experiment
from harness.documents.run import FIRST_DIFFERENCE, SIGKILL_EXIT_CODE, Fault, RunRecord
from harness.documents.scope import Prefix
from harness.errors import EvidenceError, Interrupted
from harness.runs.divergence_monitor import DivergenceMonitor
from harness.runs.run_watch import Listener, RunWatch, last_fault
from harness.runs.sandbox import Mount, Outcome, ProcessSpec, Sandbox, owner, render


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """Everything that the runs of one certify have in common.

    Attributes:
        folder: `runs/<experiment>/<run id>`.
        experiment: as far as it is run.
        inputs: where each input lies, by name.
        scope: which prefix is run; None for the whole training.
        monitor: sees every step of a prefix, and says which trajectories may stop.
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

    @property
    def stops(self) -> tuple[Fault, ...]:
        """What ends every run that lives so long: the end of the prefix, or nothing."""
        return () if self.scope is None else (self.scope.stop,)

    def is_over(self, trajectory: str) -> bool:
        """Whether nothing is learned from more steps of a trajectory: another one, or it, has differed."""
        return self.monitor is not None and self.monitor.is_over(trajectory)

    def mounts(self) -> dict[str, Mount]:
        """What every process sees, read-only, by the names that commands use."""
        mounts = {
            "code": Mount(source=self.code, target="/code"),
            "config": Mount(source=self.config, target="/config/config.json"),
            "recorder": Mount(source=self.recorder, target="/recorder"),
        }
        if self.prepared is not None:
            mounts["prepared"] = Mount(source=self.prepared, target="/prepared")
        return mounts | input_mounts(self.inputs, self.folder)

    def cancel_if_asked(self) -> None:
        """End this run when somebody pressed Ctrl-C.

        Raises:
            Interrupted: somebody did.
        """
        if self.cancel.is_set():
            raise Interrupted("interrupted", "finished runs are kept; start again when you like")

    def environment(self) -> dict[str, str]:
        """What every process is given before its interpreter starts."""
        return base_environment(self.experiment, self.commit)


def base_environment(experiment: Experiment, commit: str) -> dict[str, str]:
    """The declared environment over the defaults that repeatable Python needs."""
    defaults = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "TZ": "UTC"}
    return {**defaults, **experiment.environment, "HARNESS_COMMIT": commit}


def input_mounts(inputs: Mapping[str, Path], folder: Path) -> dict[str, Mount]:
    """The folder `{inputs}` and, below it, each input; on the host they are links in `<folder>/inputs`.

    In a container that folder is not mounted: its links would lead to paths that exist on the host only.
    """
    root = folder / "inputs"
    root.mkdir(exist_ok=True)
    mounts = {"inputs": Mount(source=root, target="/inputs", is_mounted=False)}
    for name, path in sorted(inputs.items()):
        with contextlib.suppress(FileExistsError):
            (root / name).symlink_to(path)
        mounts[f"inputs/{name}"] = Mount(source=path, target=f"/inputs/{name}")
    return mounts


def run_straight(context: RunContext, name: str, faults: tuple[Fault, ...] = ()) -> tuple[RunRecord, ...]:
    """A trajectory of one run from nothing; `faults` are those of a control."""
    return (_run(context, name, 1, "run", faults),)


def run_interrupted(context: RunContext, name: str, after_first: Any = None) -> tuple[RunRecord, ...]:
    """A trajectory that is killed at every interruption of the experiment and resumed after each.

    It stops early when a run did not die as planned: nothing after that would answer the question; also when a prefix
    ended before the kill came, or when a first difference was found.

    Args:
        context: what the runs have in common.
        name: of the trajectory.
        after_first: called when the first run has died, before the resume; a control copies its folder then.
    """
    records: list[RunRecord] = []
    kills = [interruption.fault for interruption in context.experiment.interruptions]
    for number, fault in enumerate([*kills, None], start=1):
        mode = "run" if number == 1 else "resume"
        record = _run(context, name, number, mode, (fault,) if fault else ())
        records.append(record)
        if fault is not None and (not record.is_planned_kill or _died_at(context, record) != fault):
            break
        if context.is_over(name):
            break
        if number == 1 and after_first is not None:
            after_first()
    return tuple(records)


def run_resume_of_copy(context: RunContext, name: str, faults: tuple[Fault, ...]) -> tuple[RunRecord, ...]:
    """Resume once from a copy of another trajectory's folder as `copy_trajectory` left it."""
    path = context.folder / name / "run-1.json"
    first = RunRecord.load(path.read_bytes(), path.name)
    return (first.model_copy(update={"trajectory": name}), _run(context, name, 2, "resume", faults))


def copy_trajectory(context: RunContext, source: str, name: str) -> None:
    """Copy what a killed trajectory has left so far, for a control that resumes from it.

    Raises:
        EvidenceError: it left something that is no file, folder or link, or the disk is full.
    """
    try:
        shutil.copytree(context.folder / source, context.folder / name, symlinks=True)
    except OSError as error:
        problem = f"what the first run of {source} left cannot be copied: {str(error)[:300]}"
        raise EvidenceError(problem, "a pipeline writes regular files below its output folder") from error
    _hand_over(context.folder / name / "output")


def _run(context: RunContext, trajectory: str, number: int, mode: str, faults: tuple[Fault, ...]) -> RunRecord:
    faults = tuple(dict.fromkeys((*faults, *context.stops)))
    folder = context.folder / trajectory
    own = folder / "runs" / str(number)
    own.mkdir(parents=True)
    (folder / "output").mkdir(exist_ok=True)
    _hand_over(own, folder / "output")
    spec = process_spec(context, folder, number, mode, faults)
    watch = RunWatch(context, trajectory, number, own)
    outcome = context.sandbox.execute(spec, watch)
    watch.finish()
    record = _record(trajectory, number, mode, render(spec, context.sandbox), faults, outcome)
    record = record.model_copy(update={"killed_by": _killed_by(record, watch, outcome)})
    _report_kill(context, record)
    (folder / f"run-{number}.json").write_bytes(record.write())
    return record


def _report_kill(context: RunContext, record: RunRecord) -> None:
    if record.was_stopped_early and context.monitor is not None and (found := context.monitor.found) is not None:
        context.listener.kill(record.trajectory, record.number, "first_difference", found.step)
    elif record.is_planned_kill:
        fault = _died_at(context, record)
        context.listener.kill(record.trajectory, record.number, fault.kind, fault.step)


def _killed_by(record: RunRecord, watch: RunWatch, outcome: Outcome) -> str | None:
    """Who ended a run that was to be ended.

    The end of the recorded process counts: the command around it (a shell, `torchrun`) may end with any exit code.
    """
    if not record.faults:
        return None
    if watch.has_stopped_it and outcome.was_killed_outside:
        return FIRST_DIFFERENCE
    fault = last_fault(watch.folder)
    if fault is not None and fault.get("waiting") is not True:
        return "self"
    if outcome.exit_code == SIGKILL_EXIT_CODE or (fault is not None and outcome.was_killed_outside):
        return "outside" if outcome.was_killed_outside else "self"
    return None


def _died_at(context: RunContext, record: RunRecord) -> Fault:
    """Which of a run's faults was the last that its process came to: the one it died of, where it was a kill."""
    last = last_fault(context.folder / record.trajectory / "runs" / str(record.number)) or {}
    row = last.get("fault")
    point = (row.get("kind"), row.get("step")) if isinstance(row, dict) else None
    return next((fault for fault in record.faults if (fault.kind, fault.step) == point), record.faults[0])


def process_spec(context: RunContext, folder: Path, number: int, mode: str, faults: tuple[Fault, ...]) -> ProcessSpec:
    """How a run is started: `mode` names the experiment's command, `folder` is the trajectory's."""
    experiment = context.experiment
    mounts = context.mounts()
    mounts["output"] = Mount(source=folder / "output", target="/out/output", is_writable=True)
    for earlier in range(1, number + 1):
        mounts[f"runs/{earlier}"] = Mount(
            source=folder / "runs" / str(earlier), target=f"/out/runs/{earlier}", is_writable=earlier == number
        )
    own = context.sandbox.path(mounts[f"runs/{number}"])
    inject = f"{context.sandbox.path(mounts['recorder'])}/inject"
    environment = context.environment()
    chained = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{inject}:{chained}" if chained else inject
    environment["HARNESS_RUN_DIR"] = own
    environment["HARNESS_FAULTS"] = json.dumps([fault.to_json() for fault in faults])
    return ProcessSpec(
        name=f"{context.run_id}/{folder.name}/{number}",
        argv=experiment.run if mode == "run" else experiment.resume,
        mounts=mounts,
        environment=environment,
        memory_bytes=int(experiment.memory_gib * (1 << 30)),
        timeout_s=experiment.timeout_s,
        log=folder / f"log-{number}.txt",
    )


def _record(
    trajectory: str, number: int, mode: str, argv: tuple[str, ...], faults: tuple[Fault, ...], outcome: Outcome
) -> RunRecord:
    return RunRecord(
        trajectory=trajectory,
        number=number,
        mode=mode,
        argv=argv,
        faults=faults,
        exit_code=outcome.exit_code,
        oom_killed=outcome.oom_killed,
        killed_by=None,
        error=outcome.error,
        settings=outcome.settings,
        volatile=outcome.volatile,
        seconds=round(outcome.seconds, 3),
    )


def _hand_over(*folders: Path) -> None:
    """Make folders, and what lies in them, the unprivileged user's."""
    if os.geteuid() != 0:
        return
    uid, gid = owner()
    for folder in folders:
        os.chown(folder, uid, gid)
        for path in folder.rglob("*"):
            os.chown(path, uid, gid, follow_symlinks=False)
