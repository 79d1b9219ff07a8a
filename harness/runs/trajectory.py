"""Trajectories: the runs that form one training, executed in order in one sandbox, each leaving its evidence behind.

A trajectory's folder holds `output/` (what the pipeline writes), `runs/<n>/` (what the recorder writes), `log-<n>.txt`
and `run-<n>.json` (what the host saw). Only the first two are seen by the process, and of `runs/` only its own folder
is writable to it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import JsonValue

from harness.documents.run import Fault, RunRecord
from harness.errors import EvidenceError
from harness.runs.checkout import checkout_in
from harness.runs.context import RunContext
from harness.runs.newest_checkpoint import has_saved, with_newest
from harness.runs.run_folders import entries
from harness.runs.run_watch import RunWatch, killed_by, last_fault
from harness.runs.sandbox import Outcome, ProcessSpec, hand_over, render
from harness.runs.variation import AS_IT_IS, Variation, busy_neighbour, variation_of
from harness.runs.workspace import ELSEWHERE, FOLDER, Workspace, workspace
from harness.system.copies import copy_tree
from harness.system.disk_sizes import Quota, delete

_MAX_NAMED = 5


def run_straight(context: RunContext, name: str, faults: tuple[Fault, ...] = ()) -> tuple[RunRecord, ...]:
    """A trajectory of one run from nothing; `faults` are those of a control."""
    with workspace(context, name) as own:
        return (_run(own, name, 1, "run", faults),)


def run_interrupted(
    context: RunContext,
    name: str,
    branch_off: Callable[[int], object] | None = None,
    kills: tuple[Fault, ...] | None = None,
) -> tuple[RunRecord, ...]:
    """A trajectory that is killed and resumed after each kill.

    It stops early when a run did not die as planned: nothing after that would answer the question; also when a prefix
    ended before the kill came, or when a first difference was found.

    Args:
        context: what the runs have in common.
        name: of the trajectory.
        branch_off: called once with a run's number, when that run has died and a checkpoint is there, or with the last;
            a control copies the trajectory's folder then, before it is resumed. If it returns something true, that was
            the last run.
        kills: where; at every interruption of the experiment by default.
    """
    if kills is None:
        kills = tuple(interruption.fault for interruption in context.experiment.kills)
    with workspace(context, name) as own:
        return tuple(_runs_between_kills(own, name, kills, branch_off))


def _runs_between_kills(
    own: Workspace, name: str, kills: tuple[Fault, ...], branch_off: Callable[[int], object] | None
) -> Iterator[RunRecord]:
    context = own.context
    for number, fault in enumerate([*kills, None], start=1):
        record = _run(own, name, number, "run" if number == 1 else "resume", (fault,) if fault else ())
        yield record
        if fault is not None and (not record.is_planned_kill or _died_at(context, record) != fault):
            break
        if context.is_over(name):
            break
        if branch_off is not None and (number == len(kills) or has_saved(context.folder / name / "runs")):
            if branch_off(number):
                break
            branch_off = None


def run_resumed_once(
    context: RunContext, name: str, faults: Callable[[int], tuple[Fault, ...]]
) -> tuple[RunRecord, ...]:
    """A trajectory that is killed until it can be resumed, as the interrupted one, and resumed with other faults.

    `faults` is called with the number of the run that was killed last.
    """
    killed: list[int] = []

    def stop(number: int) -> bool:
        killed.append(number)
        return True

    with workspace(context, name) as own:
        kills = tuple(interruption.fault for interruption in context.experiment.kills)
        records = [*_runs_between_kills(own, name, kills, stop)]
        return (*records, *(_run(own, name, number + 1, "resume", faults(number)) for number in killed))


def run_resume_of_copy(
    context: RunContext, name: str, faults: tuple[Fault, ...], number: int = 2
) -> tuple[RunRecord, ...]:
    """Resume once, as run `number`, from a copy of another trajectory's folder as `copy_trajectory` left it."""
    paths = [context.folder / name / f"run-{earlier}.json" for earlier in range(1, number)]
    records = [RunRecord.load(path.read_bytes(), path.name) for path in paths]
    with workspace(context, name) as own:
        last = _run(own, name, number, "resume", faults)
    return (*(record.model_copy(update={"trajectory": name}) for record in records), last)


def copy_trajectory(context: RunContext, source: str, name: str) -> None:
    """Copy what a killed trajectory has left so far, for a control that resumes from it.

    Raises:
        EvidenceError: it left something that is no file, folder or link, or the disk is full.
    """
    try:
        copy_tree(context.folder / source, context.folder / name)
        if (written := context.folder / FOLDER / source / ELSEWHERE).exists():
            (own := context.folder / FOLDER / name).mkdir()
            copy_tree(written, own / ELSEWHERE)
    except OSError as error:
        problem = f"what the first run of {source} left cannot be copied: {str(error)[:300]}"
        raise EvidenceError(problem, "a pipeline writes regular files below its output folder") from error
    hand_over(context.sandbox, context.folder / name / "output")


def _run(own: Workspace, trajectory: str, number: int, mode: str, faults: tuple[Fault, ...]) -> RunRecord:
    context = own.context
    faults = tuple(dict.fromkeys((*faults, *context.stops)))
    folder = context.folder / trajectory
    written = folder / "runs" / str(number)
    written.mkdir(parents=True)
    (folder / "output").mkdir(exist_ok=True)
    variation = variation_of(trajectory, number)
    spec = process_spec(context, folder, number, mode, faults, variation)
    # Each by itself: on a host without namespaces the folders lie elsewhere, with links where they were.
    paths = (
        folder / "output",
        folder / "runs",
        spec.log,
        spec.scratch,
        *([] if spec.elsewhere is None else [spec.elsewhere]),
    )
    quota = Quota(paths, context.experiment.output_gib)
    watch = RunWatch(context, trajectory, number, written, quota, faults)
    with checkout_in(folder / "output", context) if spec.starts_in == "output" else contextlib.nullcontext():
        hand_over(context.sandbox, written, folder / "output")
        with busy_neighbour(variation.pace):
            outcome = context.sandbox.execute(spec, watch)
    watch.finish()
    if quota.excess:
        _give_back(folder / "output")
    outcome = dataclasses.replace(outcome, error=outcome.error or watch.error or _changed(own))
    record = _record(trajectory, number, mode, render(spec, context.sandbox), faults, outcome)
    record.settings["incidental"] = _incidental(own, spec, variation, outcome)
    if faults:
        by = killed_by(
            written,
            exit_code=outcome.exit_code,
            was_killed_outside=outcome.was_killed_outside,
            was_stopped=watch.has_stopped_it,
        )
        record = record.model_copy(update={"killed_by": by})
    _report_kill(context, record)
    (folder / f"run-{number}.json").write_bytes(record.write())
    return record


def _changed(own: Workspace) -> str | None:
    """What the run changed of what it was given, in one sentence."""
    changed = own.changed()
    if not changed:
        return None
    more = f" (and {len(changed) - _MAX_NAMED} more)" if len(changed) > _MAX_NAMED else ""
    return (
        f"its code or inputs changed while it ran: {', '.join(changed[:_MAX_NAMED])}{more}; write below {{output}} only"
    )


def _incidental(own: Workspace, spec: ProcessSpec, variation: Variation, outcome: Outcome) -> dict[str, JsonValue]:
    """What of a run is incidental, by name: a verdict says which of it was the same in all trainings."""
    name = spec.log.parent.name
    shared = outcome.settings.get("shared_elsewhere", False if own.context.sandbox.kind == "host" else None)
    return {
        "inodes and times of the code": f"copy {name}",
        "inputs": f"copy {name}" if own.has_own_inputs else "one for all",
        "files elsewhere": f"copy {name}" if shared is None else f"one for all{_below(shared)}",
        "host name": outcome.settings.get("host_name"),
        "process ids": f"after {variation.num_processes_before} others",
        "hash seed": spec.environment["PYTHONHASHSEED"],
        "time zone": spec.environment["TZ"],
        "order of listings": "reversed" if variation.reverses_listings else "as they come",
        "pace": "as it comes" if variation.pace is None else f"pauses and neighbours {variation.pace}",
    }


def _below(shared: JsonValue) -> str:
    return f" below {', '.join(map(str, shared))}" if isinstance(shared, list) else ""


def _report_kill(context: RunContext, record: RunRecord) -> None:
    if record.was_stopped_early and context.monitor is not None and (found := context.monitor.found) is not None:
        context.listener.kill(record.trajectory, record.number, "first_difference", found.step)
    elif record.is_planned_kill:
        fault = _died_at(context, record)
        context.listener.kill(record.trajectory, record.number, fault.kind, fault.step)


def _died_at(context: RunContext, record: RunRecord) -> Fault:
    """Which of a run's faults was the last that its process came to: the one it died of, where it was a kill."""
    last = last_fault(context.folder / record.trajectory / "runs" / str(record.number)) or {}
    row = last.get("fault")
    point = (row.get("kind"), row.get("step")) if isinstance(row, dict) else None
    return next((fault for fault in record.faults if (fault.kind, fault.step) == point), record.faults[0])


def process_spec(
    context: RunContext,
    folder: Path,
    number: int,
    mode: str,
    faults: tuple[Fault, ...],
    variation: Variation = AS_IT_IS,
) -> ProcessSpec:
    """How a run is started: `mode` names the experiment's command, `folder` is the trajectory's."""
    experiment = context.experiment
    mounts = context.mounts()
    mounts["output"] = context.mount(folder / "output", "/out/output", is_writable=True)
    for earlier in map(str, range(1, number + 1)):
        source, is_writable = folder / "runs" / earlier, earlier == str(number)
        mounts[f"runs/{earlier}"] = context.mount(source, f"/out/runs/{earlier}", is_writable=is_writable)
    own, output = (context.sandbox.path(mounts[name]) for name in (f"runs/{number}", "output"))
    inject = f"{context.sandbox.path(mounts['recorder'])}/inject"
    environment = context.environment(variation)
    chained = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{inject}:{chained}" if chained else inject
    environment["HARNESS_RUN_DIR"] = own
    environment["HARNESS_DIGEST"] = context.algorithm
    environment["HARNESS_VARY"] = variation.for_recorder
    environment["HARNESS_FAULTS"] = json.dumps([fault.to_json() for fault in faults])
    return ProcessSpec(
        name=f"{context.run_id}/{folder.name}/{number}",
        argv=experiment.run if mode == "run" else _resume_command(context, folder, output),
        mounts=mounts,
        starts_in=experiment.working_folder,
        environment=environment,
        memory_bytes=int(experiment.memory_gib * (1 << 30)),
        timeout_s=experiment.timeout_s,
        log=folder / f"log-{number}.txt",
        host_name=variation.host_name,
        num_processes_before=variation.num_processes_before,
        elsewhere=None if context.own is None else context.own / ELSEWHERE,
    )


def _resume_command(context: RunContext, folder: Path, seen_as: str) -> tuple[str, ...]:
    """The command that continues; where there is nothing yet to continue from, the one that begins."""
    experiment, output = context.experiment, folder / "output"
    # What the recorder does not see written is known by its name.
    is_begun = has_saved(folder / "runs") or any(any(output.glob(glob)) for glob in experiment.checkpoints)
    if not experiment.resume or (experiment.checkpoints and not is_begun):
        return experiment.run
    return with_newest(experiment.resume, folder, seen_as) or experiment.run


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


def _give_back(output: Path) -> None:
    """Empty an output folder: a training that wrote more than it may is not compared."""
    for path in entries(output):
        with contextlib.suppress(OSError):
            delete(path)
