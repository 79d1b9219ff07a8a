"""Saved against restored: of each piece of state, what the checkpoint holds, and what was live after a resume."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from harness.documents.divergence import SavedState, Share, StateRow
from harness.evidence.ledger import TensorEntry
from harness.evidence.trajectory import FileEvidence, RunEvidence, TrajectoryEvidence
from harness.judge import observations
from harness.judge.locate import ledger_of, natural_key, place_before
from harness.judge.resume_step import SavedFiles
from harness.judge.symptom import Symptom, tensors_of_step
from harness.judge.testimony import digests_in

Tensors = Mapping[str, TensorEntry]
_STREAMS = (
    ("param", "weights", "module"),
    ("optim", "optimizer", "optimizer"),
    ("buffer", "buffers", "module"),
    ("frozen", "frozen weights", "module"),
)
_NUMBERS = (("scheduler", "schedule"), ("optimizer", "rates and hyperparameters"))
# Of a generator's state what cannot be taken for another: its dtype and shape, or the path of its last word.
_GENERATORS: Mapping[str, tuple[str, tuple[int, ...], str]] = {
    "torch": ("uint8", (5056,), ""),
    "cuda": ("uint8", (16,), ""),
    "numpy": ("uint32", (624,), r"/1/623$"),
    "python": ("", (), r"/1/624$"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The files that were written after one step."""

    files: tuple[FileEvidence, ...]
    step: int

    @property
    def paths(self) -> tuple[str, ...]:
        """Of the values that are no tensors."""
        return tuple(path for file in self.files if file.content is not None for path, _ in file.content.values)

    def holds_generator(self, name: str) -> bool | None:
        """Whether a state of that kind of generator is in it; None where an object was not read."""
        dtype, shape, path = _GENERATORS.get(name.partition(":")[0], ("", (), ""))
        contents = [file.content for file in self.files if file.content is not None]
        if any((t.dtype, t.shape) == (dtype, shape) for content in contents for t in content.tensors):
            return True
        if path and any(re.search(path, one) for one in self.paths):
            return True
        return None if any(content.opaque for content in contents) else False


def saved_state(symptom: Symptom) -> SavedState | None:
    """The table of a resume in which, or some steps after which, a difference was found; None for a rerun."""
    at = symptom.resumed_at
    if at is None:
        return None
    checkpoint = checkpoint_of(symptom)
    read = [e.fields.get("path") for e in symptom.right.events if e.kind == "restore" and e.fields.get("ok") is True]
    return SavedState(
        run=symptom.first.run,
        after_step=at,
        read=_place([str(path) for path in read]),
        file=None if checkpoint is None else _place([file.path for file in checkpoint.files]),
        file_step=checkpoint.step if checkpoint is not None else None,
        rows=(
            *_tensor_rows(symptom, at, checkpoint),
            *_number_rows(symptom, at, checkpoint),
            *_generator_rows(symptom, at, checkpoint),
            *_scaler_rows(checkpoint),
            *_data_rows(symptom, at),
            *_attribute_rows(symptom, at),
        ),
    )


def _place(paths: list[str]) -> str | None:
    """A checkpoint's file, or the folder that all of its files are in."""
    folders = {path.rpartition("/")[0] for path in paths}
    several = len(folders) == 1 and len(set(paths)) > 1
    return (next(iter(folders)) if several else paths[-1])[:200] if paths else None


def checkpoint_of(symptom: Symptom) -> Checkpoint | None:
    """The checkpoint of the resume's step, where it is still there; else the last one that the straight run left."""
    wanted, straight = symptom.resumed_at, _checkpoints(symptom.straight)
    for found in (_checkpoints(symptom.other), straight):
        if wanted in found:
            return Checkpoint(files=tuple(found[wanted]), step=wanted)
    if by_content := _with_weights(symptom, wanted):
        return by_content
    step = max((step for step in straight if step > 0), default=None)
    if step is None:  # nobody saw what was written when
        return _with_weights(symptom, ledger_of(symptom.left).last_step)
    return Checkpoint(files=tuple(straight[step]), step=step)


def _with_weights(symptom: Symptom, step: int | None) -> Checkpoint | None:
    """The first checkpoint file that holds all weights that the straight run had after a step."""
    weights = _straight(symptom, step, "param") if step else None
    wanted = {entry.digest for entry in (weights or {}).values()}
    files = (file for one in (symptom.other, symptom.straight) for file in one.files if file.role == "checkpoint")
    found = next((file for file in files if wanted and wanted <= digests_in((file,))), None)
    return None if found is None or step is None else Checkpoint(files=(found,), step=step)


def _checkpoints(trajectory: TrajectoryEvidence) -> dict[int, list[FileEvidence]]:
    """The checkpoint files that can be read, by the step after which each was written."""
    saved, found = SavedFiles(trajectory.runs), dict[int, list[FileEvidence]]()
    for file in trajectory.files:
        step = saved.step_of({"path": file.path})
        if file.role == "checkpoint" and file.content is not None and step is not None:
            found.setdefault(step, []).append(file)
    return found


def _tensor_rows(symptom: Symptom, at: int, checkpoint: Checkpoint | None) -> Iterator[StateRow]:
    digests = digests_in(checkpoint.files) if checkpoint is not None else frozenset()
    for stream, piece, what in _STREAMS:
        right = _straight(symptom, at, stream)
        live = observations.state(symptom.right, "start", at, stream)
        if not right and not live:
            continue
        saved = _straight(symptom, checkpoint.step, stream) if checkpoint is not None else None
        share = None if right is None or live is None else _share(right, live)
        looked_up = observations.restored(symptom, stream) if share is not None and not share.is_whole else None
        yield StateRow(
            piece=piece,
            in_file=_counted(entry.digest in digests for entry in saved.values()) if saved else None,
            calls=_loads(symptom.right, what),
            live=share,
            after_step=at if looked_up is None else next(iter(looked_up.steps), None),
        )


def _straight(symptom: Symptom, step: int, stream: str) -> Tensors | None:
    """The straight run's state after a step, as it was before the next one."""
    return observations.state(symptom.left, *place_before(ledger_of(symptom.left), step + 1, stream), stream)


def _share(right: Tensors, live: Tensors) -> Share:
    """How many are as they should be, by name; what has another name must have the content of a missing one."""
    equal = sum(live.get(name) == entry for name, entry in right.items())
    elsewhere = Counter(right[n] for n in right.keys() - live) & Counter(live[n] for n in live.keys() - right)
    return Share(num=equal + elsewhere.total(), of=len(right))


def _counted(found: Iterable[bool]) -> Share:
    every = list(found)
    return Share(num=sum(every), of=len(every))


def _loads(run: RunEvidence, what: str) -> tuple[str, ...]:
    loaded = any(e.kind == "load_state" and e.fields.get("what") == what and e.fields.get("ok") for e in run.events)
    return ("load_state_dict",) if loaded else ()


def _number_rows(symptom: Symptom, at: int, checkpoint: Checkpoint | None) -> Iterator[StateRow]:
    """What schedules count, and the numbers of the optimizer's groups, as applied in the first step."""
    right, live = (tensors_of_step(symptom, run, "lr", at + 1) for run in (symptom.left, symptom.right))
    ends = {
        "/".join(path.split("/")[-place:]) for path in (checkpoint.paths if checkpoint else ()) for place in (1, 2, 3)
    }
    for what, piece in _NUMBERS:
        names = [name for name in right if name.startswith(what)]
        if not names or not live:
            continue
        wrong = [name for name in names if live.get(name) != right[name]]
        keys = (name.partition(".")[2].replace(".", "/") for name in names)
        yield StateRow(
            piece=piece,
            in_file=_counted(key in ends for key in keys) if checkpoint is not None else None,
            calls=_loads(symptom.right, what),
            live=Share(num=len(names) - len(wrong), of=len(names)),
            after_step=_before(observations.step_of_entries(symptom, "lr", {n: live[n] for n in wrong if n in live}))
            if wrong
            else at,
        )


def _before(step: int | None) -> int | None:
    return None if step is None else step - 1


def _generator_rows(symptom: Symptom, at: int, checkpoint: Checkpoint | None) -> Iterator[StateRow]:
    right, live = (tensors_of_step(symptom, run, "rng", at + 1) for run in (symptom.left, symptom.right))
    for name in sorted(right if live else (), key=natural_key):
        held = checkpoint.holds_generator(name) if checkpoint is not None else None
        is_equal, entry = live.get(name) == right[name], live.get(name)
        step = None if entry is None else observations.step_of_entries(symptom, "rng", {name: entry})
        yield StateRow(
            piece=f"{name}'s generator",
            in_file=None if held is None else _counted((held,)),
            calls=tuple(dict.fromkeys(function for _, function, _ in observations.calls_on(symptom.right, name))),
            live=_counted((is_equal,)),
            after_step=at if is_equal else _before(step),
        )


def _scaler_rows(checkpoint: Checkpoint | None) -> Iterator[StateRow]:
    """A gradient scaler, where a checkpoint holds one; nobody recorded what was live."""
    if checkpoint is not None and any(path.rpartition("/")[2] == "growth_factor" for path in checkpoint.paths):
        yield StateRow(piece="gradient scaler", in_file=Share(num=1, of=1))


def _data_rows(symptom: Symptom, at: int) -> Iterator[StateRow]:
    """The place in the data: what the first step was given, and where the straight run was given that."""
    right, live = (tensors_of_step(symptom, run, "data", at + 1) for run in (symptom.left, symptom.right))
    if not right or not live:
        return
    numbers = dict.fromkeys(name.partition(".")[0] for name in right)
    equal = [_of_micro_batch(right, number) == _of_micro_batch(live, number) for number in numbers]
    is_looked_up = not all(equal) and symptom.first.step == at + 1
    step = observations.batch(symptom).step if is_looked_up else at + 1 if all(equal) else None
    yield StateRow(piece="place in the data", live=_counted(equal), after_step=_before(step))


def _of_micro_batch(tensors: Tensors, number: str) -> Tensors:
    return {name: entry for name, entry in tensors.items() if name.partition(".")[0] == number}


def _attribute_rows(symptom: Symptom, at: int) -> Iterator[StateRow]:
    """What modules hold beside parameters and buffers, where some of it was lost."""
    lost = observations.lost_attributes(symptom)
    if lost:
        num = len(observations.attributes(symptom.left, at + 1))
        yield StateRow(piece="other attributes of modules", live=Share(num=num - len(lost), of=num))
