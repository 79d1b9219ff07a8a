"""Why the state after a resume is not the one before it: what was lost, rounded, mixed up or never trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.documents.verdict import Cause
from harness.errors import EvidenceError
from harness.judge import observations
from harness.judge.locate import Location, ledger_of, locate, place_before, state_tensors
from harness.judge.observations import Restored
from harness.judge.symptom import Symptom, came_back, entry_at, names_of, optim_sentence, restore_sentence


def restored_cause(symptom: Symptom) -> Cause:
    """The cause of a difference just before the first step after a resume."""
    streams = {d.stream for d in symptom.comparison.differences if d.phase == "restore"}
    found = model_cause(symptom) or _precision_lost(symptom, streams) or _mixed(symptom)
    if found is not None:
        return found
    start = ledger_of(symptom.right).start
    restored = symptom.comparison.restored
    different = ", ".join(restored.different[:4]) if restored is not None else ""
    evidence = [f"after the resume at step {start.step}, {names_of(sorted(streams))} came back different: {different}"]
    looked_up = {name: one for name in sorted(streams) if (one := observations.restored(symptom, name)) is not None}
    evidence += [sentence for name, one in looked_up.items() for sentence in _looked_up(symptom, name, one)]
    if "optim" in streams:
        evidence.append(optim_sentence(symptom))
    wrong = tuple(name for one in looked_up.values() for name in one.wrong)
    evidence += [restore_sentence(symptom.right), *observations.not_loaded(symptom.right, wrong)]
    moved = _frozen_moved(symptom) if streams == {"frozen"} else ()
    kind, title, fix = _MOVED if moved else _restored_words(streams, looked_up)
    return Cause(kind=kind, title=title, evidence=(*evidence, *moved), ruled_out=came_back(symptom), fix=fix)


def _looked_up(symptom: Symptom, stream: str, one: Restored) -> Iterator[str]:
    """What a stream's wrong tensors are, in sentences."""
    step, num = next(iter(one.steps.items()), (None, 0))
    if one.wrong and step is not None and 2 * num > len(one.wrong):
        which = "all" if num == len(one.wrong) else f"{num}"
        what = "the initial ones: nothing was loaded" if step == 0 else f"those after step {step} of the straight run"
        yield f"{stream}: {which} of the {len(one.wrong)} tensors that are wrong are {what}"
    elif one.elsewhere:
        name, other = next(iter(one.elsewhere.items()))
        yield f"{stream}: {len(one.elsewhere)} tensors are the right ones of other names: {name} is that of {other}"
    elif one.wrong:
        yield f"{stream}: the {len(one.wrong)} tensors that are wrong are those of no step of the straight run"
        if stream == "param" and observations.loaded_all(symptom.right):
            yield (
                "a module was loaded, no name was missing: so the file holds other weights (an average, rounded ones), "
                "or they were changed after the load"
            )
    in_files = observations.names_in_files(symptom, stream, one.wrong)
    if 2 * len(in_files) > len(one.wrong):
        name, (path, key) = next(iter(in_files.items()))
        yield f"{stream}: {len(in_files)} of them lie in {path} under another name: {name} is what it holds as {key}"
    for words, names in (("has", one.only_here), ("lacks", one.only_there)):
        if names:
            yield f"{stream}: the resumed process {words} {len(names)} tensors, unlike the straight run: {names[0]} ..."


_MOVED = (
    "frozen_weights_moved",
    "The frozen weights moved while training, and no checkpoint holds them",
    "Save the frozen weights in the checkpoint as well, or leave them alone: merge an adapter into a copy, or put "
    "the original weights back instead of subtracting what was added.",
)


def _frozen_moved(symptom: Symptom) -> tuple[str, ...]:
    """That the frozen weights of the straight run were others at the resume than at the start, and lie in no file."""
    ledger, step = ledger_of(symptom.left), symptom.first.step
    phase, number = place_before(ledger, step, "frozen")
    if phase != "before":
        return ()
    try:
        tensors = state_tensors(symptom.left, phase, number, "frozen") or {}
        first = state_tensors(symptom.left, "start", ledger.start.step, "frozen") or {}
    except EvidenceError:
        return ()
    moved = {name: entry.digest for name, entry in tensors.items() if first.get(name) != entry}
    saved = {str(t.digest) for f in symptom.straight.files if f.content is not None for t in f.content.tensors}
    if not moved or any(digest in saved for digest in moved.values()):
        return ()
    said = f"in the straight run {len(moved)} of {len(tensors)} frozen tensors were others before step {number} than "
    return (f"{said}at the start, the first by name is {min(moved)}; no file that it wrote holds them",)


def model_cause(symptom: Symptom) -> Cause | None:
    """A resumed model that is not built like the first one, though all that both have may be equal."""
    return _other_parameters(symptom) or _trained_otherwise(symptom) or _more_parameters(symptom)


def _trained_otherwise(symptom: Symptom) -> Cause | None:
    """Weights that are trained in one process and frozen in the other."""
    only_there, only_here = observations.trained_otherwise(symptom)
    if not only_there and not only_here:
        return None
    said = [
        f"only {which} trains {len(names)} tensors, the first by name is {names[0]}"
        for which, names in (("the straight run", only_there), ("the resumed one", only_here))
        if names
    ]
    return Cause(
        kind="trained_otherwise",
        title="After the resume other weights are trained than before it",
        evidence=tuple(said),
        ruled_out=came_back(symptom),
        fix="Freeze and free weights (requires_grad) by the number of the step whenever a process starts, before the "
        "optimizer is built, and not only in the moment when a phase begins.",
    )


def _other_parameters(symptom: Symptom) -> Cause | None:
    """An optimizer that was given the parameters of another model than the one that is trained."""
    event, straight = (
        next((event for event in run.events if event.kind == "without_optimizer"), None)
        for run in (symptom.right, symptom.left)
    )
    if event is None or straight is not None:
        return None
    given = event.fields.get("names")
    names = [str(name) for name in given] if isinstance(given, list) else []
    return Cause(
        kind="optimizer_of_other_parameters",
        title="The optimizer's parameters are not those that are trained",
        evidence=(
            f"at step {symptom.first.step} none of the optimizer's parameters had a gradient, and {len(names)} that no "
            f"optimizer has did: {', '.join(names[:4])[:200]}",
            restore_sentence(symptom.right),
        ),
        ruled_out=came_back(symptom),
        fix="After a resume, build the optimizer from the parameters of the model that is trained, and load the "
        "checkpoint into that model: nothing may keep an older one.",
    )


def _more_parameters(symptom: Symptom) -> Cause | None:
    """Trainable tensors that the straight run has not."""
    one = observations.restored(symptom, "param")
    if one is None or not one.only_here:
        return None
    title = "The resumed model has trainable tensors that the first one has not"
    fix = "Build the model the same way before the checkpoint is loaded: wrap it, or add an adapter, once."
    copies = tuple(f"{name} begins with what {other} holds" for name, other in one.copies.items())
    if len(copies) == len(one.only_here):
        title = "Weights that are one tensor in the first model are two in the resumed one"
        fix = (
            "Tie them again after the checkpoint is loaded (load_state_dict(assign=True) makes a tensor for each name)."
        )
    return Cause(
        kind="model_has_other_parameters",
        title=title,
        evidence=(*_looked_up(symptom, "param", one), *copies[:4], restore_sentence(symptom.right)),
        ruled_out=came_back(symptom),
        fix=fix,
    )


def _mixed(symptom: Symptom) -> Cause | None:
    """Parameters of one step beside an optimizer state of another."""
    start, straight = ledger_of(symptom.right).start, ledger_of(symptom.left).steps
    if start.streams.get("param") == ledger_of(symptom.left).start.streams.get("param"):
        return None  # nothing was loaded
    steps = {}
    for stream in ("param", "optim"):
        found = [s.step for s in straight if s.streams.get(stream) == start.streams.get(stream)]
        if stream not in start.streams or not found:
            return None
        steps[stream] = found
    if set(steps["param"]) & set(steps["optim"]):
        return None
    param, optim = steps["param"][-1], steps["optim"][-1]
    return Cause(
        kind="checkpoints_mixed",
        title="Parts of two checkpoints were loaded",
        evidence=(
            f"after the resume the parameters are those after step {param}, the optimizer's state is that after step "
            f"{optim}",
            restore_sentence(symptom.right),
        ),
        ruled_out=came_back(symptom),
        fix="Write all parts of a checkpoint into one folder or file, rename it when it is complete, and load all of "
        "them from the same one.",
    )


def _restored_words(streams: set[str], looked_up: Mapping[str, Restored]) -> tuple[str, str, str]:
    optim = looked_up.get("optim")
    if streams == {"optim"} and optim is not None and optim.wrong and len(optim.elsewhere) == len(optim.wrong):
        fix = "Give the optimizer its parameters in one order, sorted by name; it matches state to parameters by place."
        return "optimizer_state_permuted", "Parameters were given each other's optimizer state", fix
    if "frozen" in streams:
        fix = "Make the frozen weights from the same input and seed on a resume, or save them in the checkpoint."
        return "frozen_weights_not_restored", "The frozen weights are not the same after the resume", fix
    if "param" in streams:
        fix = "Save model.state_dict() and load it with strict=True after the model is built; check that names match."
        return "weights_not_restored", "The trained weights were not restored", fix
    if "optim" in streams:
        fix = "Save optimizer.state_dict() in the checkpoint and load it after the optimizer is built."
        return "optimizer_state_not_restored", "The optimizer's state was not restored", fix
    fix = "Register them as persistent buffers, so that they are part of model.state_dict(), and load that."
    return "buffers_not_restored", "The model's buffers were not restored", fix


def _precision_lost(symptom: Symptom, streams: set[str]) -> Cause | None:
    """Weights or moments that came back rounded, if a checkpoint shows that it holds fewer digits than they have."""
    for difference in symptom.comparison.differences:
        if difference.phase != "restore" or difference.stream not in ("param", "optim"):
            continue
        place = locate(difference, symptom.left, symptom.right)
        found = _narrow_tensor(symptom, difference.stream, place)
        if found is None:
            continue
        path, name, dtype, precision, live = found
        how = f"is stored as {dtype}" if dtype != live else f"holds only values that {precision} can hold"
        lost = (optim_sentence(symptom),) if "optim" in streams and difference.stream == "param" else ()
        return Cause(
            kind="checkpoint_lost_precision",
            title="The checkpoint holds fewer digits than the training has",
            evidence=(
                f"{place.tensor} came back different; {place.num_different} of {place.num_tensors} tensors of "
                f"{difference.stream} did",
                f"in {path}, {name} {how}; the live tensor is {live}",
                *lost,
            ),
            ruled_out=came_back(symptom),
            fix="Save tensors in the dtype that they are trained in; convert copies for publishing, never the "
            "checkpoint.",
        )
    return None


def _narrow_tensor(symptom: Symptom, stream: str, place: Location) -> tuple[str, str, str, str, str] | None:
    entry = entry_at(symptom, stream, place.tensor or "")
    if entry is None or entry[0] not in ("float32", "float64"):
        return None
    for trajectory in (symptom.other, symptom.straight):
        for file in trajectory.files:
            for tensor in file.content.tensors if file.content is not None and file.role == "checkpoint" else ():
                is_same = tensor.shape == entry[1] and _is_called(tensor.name, place.tensor or "")
                if is_same and tensor.precision in ("float16", "bfloat16", "float32") and tensor.precision != entry[0]:
                    return file.path, tensor.name, tensor.dtype, tensor.precision, entry[0]
    return None


def _is_called(path: str, name: str) -> bool:
    """Whether a path in a file is that of a live parameter, or of its moment by its own key (`exp_avg`)."""
    last = path.rpartition("/")[2]
    return last == name or name.endswith(f".{last}") or last.endswith(f".{name}")
