"""Testimony: a ledger is what the training process says of itself; what lies on disk must be found in it.

The host digests every tensor of the outputs itself, and looks for it in the states that the ledger vouches for. Where
only a prefix was run there are no outputs; then it looks for the recorded weights in the checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, cast

from harness.documents.verdict import Restored, Testimony
from harness.errors import EvidenceError
from harness.evidence.trajectory import FileEvidence, RunEvidence, TrajectoryEvidence
from harness.judge.locate import state_tensors
from harness.judge.ranks import is_sharded

_STREAMS = ("param", "buffer", "frozen", "optim", "rng")
_MAX_MISSING = 50


def match_outputs(*trajectories: TrajectoryEvidence | None) -> tuple[Testimony, tuple[str, ...]]:
    """Look for every tensor of the outputs in the ledgers of its own trajectory, and then in its checkpoints.

    The last state is looked at first; weights that were written earlier (the best ones) are found where they were made.
    What is in no state may be an average or an export: it is compared like the rest, and only told.
    """
    total = found = in_checkpoints = derived = 0
    missing: list[str] = []
    problems: list[str] = []
    for trajectory in trajectories:
        if trajectory is None or is_sharded(trajectory):
            continue
        wanted: dict[str, list[tuple[FileEvidence, str]]] = {}
        for file in trajectory.files:
            for tensor in file.content.tensors if file.role == "output" and file.content is not None else ():
                total += 1
                wanted.setdefault(str(tensor.digest), []).append((file, tensor.name))
        num = sum(map(len, wanted.values()))
        try:
            for known in _states(trajectory) if wanted else ():
                for digest in [digest for digest in wanted if digest in known]:
                    del wanted[digest]
                if not wanted:
                    break
        except EvidenceError as error:
            problems.append(error.problem)
        found += num - sum(map(len, wanted.values()))
        held = digests_in(file for file in trajectory.files if file.role == "checkpoint")
        for digest, places in wanted.items():
            in_checkpoints += len(places) if digest in held else 0
            derived += sum(file.is_derived for file, _ in places)
            missing += [f"{trajectory.name}: {file.path}: {name}" for file, name in places]
    testimony = Testimony(
        tensors_on_disk=total,
        found_in_ledger=found,
        missing=tuple(sorted(missing)[:_MAX_MISSING]),
        in_checkpoints=in_checkpoints,
        derived=derived,
    )
    return testimony, tuple(problems)


def match_checkpoints(*trajectories: TrajectoryEvidence | None) -> tuple[Testimony, tuple[str, ...]]:
    """Look for the trained weights of some recorded step in the checkpoints of each trajectory.

    A checkpoint holds more than weights, and some hold none, so a trajectory is believed if one of its checkpoints has
    all weights of a step. Nothing is counted where no checkpoint can be read or no step's tensors were recorded, nor
    for a trajectory whose last file may have been cut off.
    """
    total = 0
    missing: list[str] = []
    problems: list[str] = []
    for trajectory in trajectories:
        if trajectory is None or is_sharded(trajectory) or any(run.record.was_stopped_early for run in trajectory.runs):
            continue
        files = {file.path: digests_in((file,)) for file in trajectory.files if file.role == "checkpoint"}
        held = {path: digests for path, digests in files.items() if digests}
        try:
            states = list(_weights(trajectory)) if held else []
        except EvidenceError as error:
            problems.append(error.problem)
            continue
        found = [max((num for state, num in states if state <= digests), default=0) for digests in held.values()]
        if any(found):
            total += sum(found)
        elif states:
            total += states[0][1]
            names = ", ".join(sorted(held)[:4])
            missing += [f"{trajectory.name}: {names}: no recorded step's weights are in it"] * states[0][1]
    found_in_ledger, first = total - len(missing), tuple(missing[:1])
    return Testimony(tensors_on_disk=total, found_in_ledger=found_in_ledger, missing=first), tuple(problems)


def with_checkpoints(resumed: TrajectoryEvidence | None, restored: tuple[Restored, ...]) -> tuple[Restored, ...]:
    """What each resume brought back, with the checkpoint that was read, where it is still what it was."""
    return tuple(_with_file(resumed, one) for one in restored) if resumed is not None else ()


def _with_file(resumed: TrajectoryEvidence, restored: Restored) -> Restored:
    run = resumed.runs[restored.run - 1]
    read = [e.fields.get("path") for e in run.events if e.kind == "restore" and e.fields.get("ok") is True]
    paths = [path for path in read if isinstance(path, str)]
    path = next((path for path in reversed(paths) if resumed.file(path) is not None), paths[-1] if paths else None)
    file = resumed.file(path) if path is not None else None
    num = None
    if file is not None and file.content is not None:
        digests = digests_in((file,))
        if _is_still_of_step(resumed, restored, digests):
            num = _num_in_file(run, digests)
    return restored.model_copy(update={"file": path, "num_in_file": num})


def _is_still_of_step(resumed: TrajectoryEvidence, restored: Restored, digests: frozenset[str]) -> bool:
    """Whether the file holds the weights that an earlier run had after that step: it was not written again later."""
    for run in reversed(resumed.runs[: restored.run - 1]):
        try:
            tensors = state_tensors(run, "step", restored.after_step, "param") if run.ledger is not None else None
        except EvidenceError:
            return False
        if tensors:
            return all(tensor.digest in digests for tensor in tensors.values())
    return False


def _num_in_file(run: RunEvidence, digests: frozenset[str]) -> int | None:
    """How many of the parameters, moments and generators that the process began with are in the checkpoint."""
    if run.ledger is None:
        return None
    try:
        found = [
            state_tensors(run, "start", run.ledger.start.step, s) or {} for s in ("param", "optim", "rng", "buffer")
        ]
    except EvidenceError:
        return None
    return sum(entry.digest in digests for tensors in found for entry in tensors.values())


def digests_in(files: Iterable[FileEvidence]) -> frozenset[str]:
    """The digests of every tensor in some files, as ledgers have them; of those that could be read."""
    return frozenset(str(t.digest) for file in files if file.content is not None for t in file.content.tensors)


def _weights(trajectory: TrajectoryEvidence) -> Iterator[tuple[frozenset[str], int]]:
    """The digests of the trainable tensors after each recorded step, and how many these are; the last run's first."""
    for run in reversed(trajectory.runs):
        steps = run.ledger.steps if run.ledger is not None and run.sidecar is not None else ()
        for record in steps:
            tensors = state_tensors(run, "step", record.step, "param")
            if tensors:
                yield frozenset(entry.digest for entry in tensors.values()), len(tensors)


def _states(trajectory: TrajectoryEvidence) -> Iterator[set[str]]:
    """The digests of each recorded state, the last one first."""
    for run in reversed(trajectory.runs):
        if run.sidecar is None or run.ledger is None:
            continue
        places = sorted(run.sidecar.index, key=lambda key: (key[1], key[0] == "end", key[0] == "step"), reverse=True)
        for at, step, stream in places:
            if stream in _STREAMS:
                phase = cast(Literal["start", "step", "end"], at)
                yield {entry.digest for entry in (state_tensors(run, phase, step, stream) or {}).values()}
