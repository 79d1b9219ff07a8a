"""Observations: facts about a divergence, each computed from ledgers, events and files alone. They name no cause."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import EvidenceError
from harness.evidence.ledger import At, StateRecord, StepRecord, TensorEntry
from harness.evidence.trajectory import RunEvidence
from harness.judge.locate import ledger_of, natural_key, place_before, state_tensors
from harness.judge.symptom import Symptom, is_same, step_of, tensors_of_step

Settings = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """A generator whose state before a step is not the straight run's.

    Attributes:
        equals_step: the other step of the straight run before which it was in this state; None if there is none.
        calls: the functions that seeded or set it before the training, in order.
        was_seeded_last: whether it was seeded after it had been set.
        set_to_step: before which step of the straight run it was in the state that it was set to; None if unknown.
        is_as_set: whether nothing drew from it since the last of these calls; None if that state was not recorded.
    """

    name: str
    equals_step: int | None
    calls: tuple[str, ...]
    was_set: bool
    was_seeded_last: bool
    set_to_step: int | None
    is_as_set: bool | None


def generators(symptom: Symptom) -> tuple[Generator, ...]:
    """The generators that differ before the first difference's step, by name."""
    step = symptom.first.step
    one, two = (tensors_of_step(symptom, run, "rng") for run in (symptom.left, symptom.right))
    found = []
    for name in sorted(two, key=natural_key):
        if one.get(name) == two[name]:
            continue
        calls = calls_on(symptom.right, name)
        sets = [state for kind, _, state in calls if kind == "set_rng"]
        usual = sum(kind == "set_rng" for kind, _, _ in calls_on(symptom.left, name))
        if len(sets) <= usual:  # a trainer puts the generators back after its trial of the validation, say
            sets, calls = [], [call for call in calls if call[0] == "seed"]
        last = calls[-1] if calls else None
        found.append(
            Generator(
                name=name,
                equals_step=_step_with(symptom, name, two[name].digest, other_than=step),
                calls=tuple(dict.fromkeys(function for _, function, _ in calls)),
                was_set=bool(sets),
                was_seeded_last=bool(sets) and last is not None and last[0] == "seed",
                set_to_step=_step_with(symptom, name, sets[-1]) if sets and sets[-1] else None,
                is_as_set=last[2] == two[name].digest if last is not None and last[2] else None,
            )
        )
    return tuple(found)


def calls_on(run: RunEvidence, name: str) -> list[tuple[str, str, str]]:
    """The calls before the training that seeded or set a generator: kind, function, digest of its state afterwards.

    What was seeded for a while and then put back as it had been (an example's own seed, a fork) is left out.
    """
    modules = {"torch": "torch", "python": "random", "numpy": "numpy.random"}
    calls: list[tuple[str, str, str]] = []
    before: list[str] = []
    for event in run.events:
        if event.kind not in ("seed", "set_rng") or event.fields.get("step"):
            continue
        function, states = str(event.fields.get("function")), _state_of(event.fields.get("states"), name)
        if not states and function.rpartition(".")[0] != modules.get(name, "torch.cuda"):
            continue
        if event.kind == "set_rng" and states and states in before:
            place = before.index(states)
            calls, before = calls[:place], before[:place]
            continue
        calls.append((event.kind, function, states))
        before.append(_state_of(event.fields.get("before"), name))
    return calls


def _state_of(states: object, name: str) -> str:
    return str(states.get(name, "")) if isinstance(states, dict) else ""


def _step_with(symptom: Symptom, name: str, digest: str, other_than: int = -1) -> int | None:
    """The step of the straight run before which a generator was in a state."""
    for record in ledger_of(symptom.left).steps:
        entry = tensors_of_step(symptom, symptom.left, "rng", record.step).get(name)
        if entry is not None and entry.digest == digest and record.step != other_than:
            return record.step
    return None


def evaluations(run: RunEvidence, step: int) -> int:
    """How many evaluation forwards with a loss, or at least records of some, a run has between two steps."""
    return sum(max(1, len(record.loss)) for record in ledger_of(run).evals if record.step == step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Where the straight run was given what the other one was given in a step.

    Attributes:
        steps: the step of the straight run in which the content of each micro-batch occurs; None if it is nowhere.
        parts: for each step of the straight run, the inputs that are equal to that step's and to no other's.
        right: of the inputs, those that are the straight run's in this very step, and in no step beside it.
        is_other_shape: whether an input has another shape or dtype than in the straight run.
        num_micro_batches: of the straight run, and of the other one.
        num_skipped: how many micro-batches of this very step the straight run did before the other one's first.
    """

    steps: tuple[int | None, ...]
    parts: Mapping[int, tuple[str, ...]]
    right: tuple[str, ...]
    is_other_shape: bool
    num_micro_batches: tuple[int, int]
    num_skipped: int

    @property
    def step(self) -> int | None:
        """The step of the straight run that the first micro-batch is of, or a part of it that is in no other step."""
        if self.steps and self.steps[0] is not None:
            return self.steps[0]
        return next(iter(self.parts), None)


def batch(symptom: Symptom) -> Batch:
    """What was given in the first difference's step, looked up over all steps of the straight run."""
    mine = _by_micro_batch(tensors_of_step(symptom, symptom.right, "data"))
    theirs = _by_micro_batch(tensors_of_step(symptom, symptom.left, "data"))
    whole: dict[frozenset[tuple[str, TensorEntry]], int] = {}
    single: dict[tuple[str, TensorEntry], set[int]] = {}
    for record in ledger_of(symptom.left).steps:
        for inputs in _by_micro_batch(tensors_of_step(symptom, symptom.left, "data", record.step)).values():
            whole.setdefault(frozenset(inputs.items()), record.step)
            for item in inputs.items():
                single.setdefault(item, set()).add(record.step)
    first = next(iter(mine.values()), {})
    parts: dict[int, list[str]] = {}
    for item in first.items():
        places = single.get(item, set())
        if len(places) == 1 and math.prod(item[1].shape) > 3:  # a single number is equal to another one by chance
            parts.setdefault(next(iter(places)), []).append(item[0])
    shapes = [{name: (entry.dtype, entry.shape) for name, entry in one.get(1, {}).items()} for one in (mine, theirs)]
    return Batch(
        steps=tuple(whole.get(frozenset(inputs.items())) for inputs in mine.values()),
        parts={place: tuple(names) for place, names in parts.items()},
        right=_right_inputs(symptom),
        is_other_shape=bool(mine and theirs) and shapes[0] != shapes[1],
        num_micro_batches=(len(theirs), len(mine)),
        num_skipped=next((place for place, inputs in enumerate(theirs.values()) if inputs == first), 0),
    )


def _by_micro_batch(tensors: Mapping[str, TensorEntry]) -> dict[int, dict[str, TensorEntry]]:
    """The tensors of a step's data: micro-batch -> input -> entry."""
    found: dict[int, dict[str, TensorEntry]] = {}
    for name, entry in tensors.items():
        number, _, rest = name.partition(".")
        if number.isdigit() and entry.dtype != "json":
            found.setdefault(int(number), {})[rest] = entry
    return dict(sorted(found.items()))


def _right_inputs(symptom: Symptom) -> tuple[str, ...]:
    step = symptom.first.step
    one, two = (tensors_of_step(symptom, run, "data") for run in (symptom.left, symptom.right))
    beside = [tensors_of_step(symptom, symptom.left, "data", step + away) for away in (-1, 1)]
    return tuple(
        name
        for name, entry in two.items()
        if entry == one.get(name) and entry.dtype != "json" and all(entry != other.get(name) for other in beside)
    )


def given_again(symptom: Symptom, step: int) -> int | None:
    """Another step of the straight run that begins with the same micro-batch, under generators in another state.

    Where there is one, the order of the data is not drawn from the generators.
    """
    wanted = _first_inputs(symptom, step)
    state = tensors_of_step(symptom, symptom.left, "rng", step)
    for record in ledger_of(symptom.left).steps if wanted else ():
        is_other = tensors_of_step(symptom, symptom.left, "rng", record.step) != state
        if is_other and _first_inputs(symptom, record.step) == wanted:
            return record.step
    return None


def _first_inputs(symptom: Symptom, step: int) -> Mapping[str, TensorEntry]:
    return next(iter(_by_micro_batch(tensors_of_step(symptom, symptom.left, "data", step)).values()), {})


def more_inputs(symptom: Symptom) -> str:
    """That of one side's step more was recorded as given to a module, in words; "" where any input is another one.

    Inputs are recorded that need no gradient: which those are changes with what is trained before them.
    """
    one, two = (tensors_of_step(symptom, run, "data") for run in (symptom.left, symptom.right))
    common = one.keys() & two.keys()
    numbers = ({name.partition(".")[0] for name in names} for names in (one, two))
    if not common or len({*map(frozenset, numbers)}) > 1 or any(one[name] != two[name] for name in common):
        return ""
    num, which = max((len(one) - len(common), "straight"), (len(two) - len(common), "resumed"))
    return f"{num} input{'s' if num > 1 else ''} more {'are' if num > 1 else 'is'} recorded of the {which} step"


def is_computed_otherwise(symptom: Symptom) -> bool:
    """Whether a step's first micro-batch is equal and its loss is not: what comes after it may follow from that."""
    if more_inputs(symptom):
        return True
    step = symptom.first.step
    one, two = step_of(symptom.left, step), step_of(symptom.right, step)
    if one is None or two is None or not one.loss or not two.loss or one.loss[0] == two.loss[0]:
        return False
    first, other = (
        _by_micro_batch(tensors_of_step(symptom, run, "data")).get(1) for run in (symptom.left, symptom.right)
    )
    return first is not None and first == other and is_same(symptom, "rng", step) and is_same(symptom, "lr", step)


def settings(run: RunEvidence, step: int) -> Settings:
    """What a run computed a step under, as far as it was noted: modules in evaluation mode, switches, clipping."""
    found: dict[str, object] = {}
    for event in run.events:
        at = event.fields.get("step")
        if event.kind == "setting" and type(at) is int and at <= step:
            value = event.fields.get("value")
            if event.fields.get("name") == "switches" and isinstance(value, dict):
                found |= value
            else:
                found[str(event.fields.get("name"))] = value
    return found


def settings_that_differ(symptom: Symptom, step: int) -> dict[str, tuple[object, object]]:
    """The settings of a step that are not the same: name -> (straight, other); nothing where one side noted none."""
    one, two = settings(symptom.left, step), settings(symptom.right, step)
    if not one or not two:
        return {}
    names = sorted(one.keys() | two.keys())
    return {name: (one.get(name), two.get(name)) for name in names if one.get(name) != two.get(name)}


def attributes(run: RunEvidence, step: int) -> dict[str, object]:
    """What modules held beside parameters and buffers before a step; empty if nobody looked just then."""
    found: dict[str, object] = {}
    is_looked_at = False
    for event in run.events:
        at, values = event.fields.get("step"), event.fields.get("values")
        if event.kind == "attributes" and type(at) is int and at <= step and isinstance(values, dict):
            found |= values
            is_looked_at = at == step
    return found if is_looked_at else {}


def lost_attributes(symptom: Symptom) -> dict[str, tuple[object, object]]:
    """What modules held that had moved in the straight run, and that a resume did not bring back: both values."""
    step = ledger_of(symptom.right).start.step + 1
    initial = attributes(symptom.left, ledger_of(symptom.left).start.step + 1)
    one, two = attributes(symptom.left, step), attributes(symptom.right, step)
    moved = [name for name in one if name not in initial or one[name] != initial[name]]
    return {name: (one[name], two.get(name)) for name in moved if two and one[name] != two.get(name)}


def trained_otherwise(symptom: Symptom) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of weights that both have, and that only the straight run trains after a resume, or only the other one."""
    ledger, at = ledger_of(symptom.left), ledger_of(symptom.right).start.step
    one = {s: set(state(symptom.left, *place_before(ledger, at + 1, s), s) or {}) for s in ("param", "frozen")}
    two = {s: set(state(symptom.right, "start", at, s) or {}) for s in ("param", "frozen")}
    only_there, only_here = (one["param"] - two["param"]) & two["frozen"], (two["param"] - one["param"]) & one["frozen"]
    if symptom.first.stream in ("data", "grad") and symptom.first.phase == "step":
        left, right = (set(tensors_of_step(symptom, run, "grad")) for run in (symptom.left, symptom.right))
        only_there |= (left - right) & (two["param"] | two["frozen"])
        only_here |= (right - left) & (one["param"] | one["frozen"])
    return tuple(sorted(only_there, key=natural_key)), tuple(sorted(only_here, key=natural_key))


def names_that_differ(symptom: Symptom, stream: str) -> tuple[str, ...]:
    """The entries of a stream that differ in the first difference's step."""
    one, two = (tensors_of_step(symptom, run, stream) for run in (symptom.left, symptom.right))
    return tuple(sorted((n for n in one.keys() | two.keys() if one.get(n) != two.get(n)), key=natural_key))


def step_with(symptom: Symptom, stream: str, name: str) -> int | None:
    """The other step of the straight run in which an entry of a stream was as the other run has it."""
    entry = tensors_of_step(symptom, symptom.right, stream).get(name)
    return None if entry is None else step_of_entries(symptom, stream, {name: entry}, other_than=symptom.first.step)


def step_of_entries(
    symptom: Symptom, stream: str, entries: Mapping[str, TensorEntry], other_than: int = -1
) -> int | None:
    """The first step of the straight run in which all of these entries of a stream were so; None for no step."""
    for record in ledger_of(symptom.left).steps if entries else ():
        if record.step != other_than:
            tensors = tensors_of_step(symptom, symptom.left, stream, record.step)
            if all(tensors.get(name) == entry for name, entry in entries.items()):
                return record.step
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a stream's tensors were just before the first step after a resume.

    Attributes:
        wrong: the names that are not as in the straight run then.
        steps: how many of these are as after each step of the straight run, most first; step 0 is its start.
        elsewhere: of these, what has the content of another name in the straight run then: name -> that name.
        only_here: names that the straight run does not have then.
        copies: of these, what has the content of a name that it has: name -> that name.
        only_there: names that only the straight run has.
    """

    wrong: tuple[str, ...]
    steps: Mapping[int, int]
    elsewhere: Mapping[str, str]
    only_here: tuple[str, ...]
    copies: Mapping[str, str]
    only_there: tuple[str, ...]


def restored(symptom: Symptom, stream: str) -> Restored | None:
    """Look up a restored stream, tensor by tensor, over all steps of the straight run; None without its tensors."""
    ledger, at = ledger_of(symptom.left), ledger_of(symptom.right).start.step
    mine = state(symptom.right, "start", at, stream)
    here = state(symptom.left, *place_before(ledger, at + 1, stream), stream)
    if mine is None or here is None:
        return None
    wrong = [name for name in mine if name in here and mine[name] != here[name]]
    by_content: dict[TensorEntry, str] = {}
    for name, entry in here.items():
        by_content.setdefault(entry, name)
    steps: dict[int, int] = {}
    root = ledger_of(symptom.right).start.streams.get(stream)
    records: tuple[StateRecord | StepRecord, ...] = (ledger.start, *ledger.steps)
    whole = [record for record in records if record.streams.get(stream) == root]  # seen without reading their tensors
    for number in (record.step for record in whole or records):
        tensors = state(symptom.left, "start" if number == ledger.start.step else "step", number, stream) or {}
        equal = sum(tensors.get(name) == mine[name] for name in wrong)
        if equal:
            steps[number] = equal
    return Restored(
        wrong=tuple(sorted(wrong, key=natural_key)),
        steps=dict(sorted(steps.items(), key=lambda item: (-item[1], item[0] > ledger.start.step, -item[0]))),
        elsewhere={name: by_content[mine[name]] for name in wrong if mine[name] in by_content},
        only_here=tuple(sorted(mine.keys() - here.keys(), key=natural_key)),
        copies={
            name: by_content[mine[name]] for name in mine.keys() - here.keys() if by_content.get(mine[name]) in mine
        },
        only_there=tuple(sorted(here.keys() - mine.keys(), key=natural_key)),
    )


def state(run: RunEvidence, at: At, step: int, stream: str) -> dict[str, TensorEntry] | None:
    """The tensors of a stream at one place; None where they cannot be had."""
    try:
        return state_tensors(run, at, step, stream)
    except EvidenceError:
        return None


def names_in_files(symptom: Symptom, stream: str, names: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """Which restored tensors lie in a checkpoint under one other name: name -> (file, name there)."""
    start = ledger_of(symptom.right).start
    mine = state(symptom.right, "start", start.step, stream) or {}
    wanted = {mine[name].digest: name for name in names if name in mine}
    found: dict[str, tuple[str, str]] = {}
    for file in (*symptom.other.files, *symptom.straight.files):
        tensors = file.content.tensors if file.content is not None and file.role == "checkpoint" else ()
        num = Counter(str(tensor.digest) for tensor in tensors)
        for tensor in tensors:
            name = wanted.get(str(tensor.digest))
            if name is not None and num[str(tensor.digest)] == 1:
                found.setdefault(name, (file.path, tensor.name))
    return found


def not_loaded(run: RunEvidence, wrong: tuple[str, ...]) -> tuple[str, ...]:
    """What modules said of their `load_state_dict` before the training: names without a value, or without a place.

    Names without a value count only where one of them came back wrong: an adapter's file has no base weights.
    """
    said = []
    for event in run.events:
        if event.kind != "load_state" or event.fields.get("what") != "module" or not event.fields.get("ok"):
            continue
        for key, words in (("missing", "had no value in it"), ("unexpected", "in it had no place")):
            match event.fields.get(key):
                case [int(num), str(first), *more] if key == "unexpected" or any(n in wrong for n in (first, *more)):
                    said.append(f"load_state_dict of {event.fields.get('class')}: {num} names {words} ({first} ...)")
    return tuple(said)


def loaded_all(run: RunEvidence) -> bool:
    """Whether a module's `load_state_dict` found a value for each of its names, before the training."""
    loads = [e.fields for e in run.events if e.kind == "load_state" and e.fields.get("what") == "module"]
    return any(fields.get("ok") is True and not fields.get("missing") for fields in loads)


def snapshot_step(symptom: Symptom, path: str) -> int | None:
    """After which step of the straight run its weights were those that it wrote into a file; None if after none."""
    files = [file for file in symptom.straight.files if file.path == path and file.content is not None]
    digests = {str(tensor.digest) for file in files if file.content is not None for tensor in file.content.tensors}
    ledger = ledger_of(symptom.left)
    for number in (ledger.start.step, *(record.step for record in ledger.steps)):
        tensors = state(symptom.left, "start" if number == ledger.start.step else "step", number, "param") or {}
        if tensors and all(entry.digest in digests for entry in tensors.values()):
            return number
    return None


def has_shapes_of_weights(symptom: Symptom, path: str, names: tuple[str, ...]) -> bool:
    """Whether each of these tensors of a file has the shape of a trained one: they may be a copy of the weights."""
    ledger = ledger_of(symptom.left)
    shapes = {entry.shape for entry in (state(symptom.left, "start", ledger.start.step, "param") or {}).values()}
    files = [file for file in symptom.straight.files if file.path == path and file.content is not None]
    tensors = [t for file in files if file.content is not None for t in file.content.tensors if t.name in names]
    return bool(tensors) and all(tensor.shape in shapes for tensor in tensors)
