"""What a checkpoint really holds, told by content: the bits that the ledger saw, looked for in the file.

A tensor counts as held where its digest is in the file. It counts as missing only where that is proven: the file has
fewer tensors of its shape than the state needs. Names of keys are a second source, for what is no tensor.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from harness.documents.digest import canonical_json
from harness.errors import EvidenceError
from harness.evidence.ledger import TensorEntry
from harness.evidence.tensor_digest import ALGORITHMS, tensor_digest
from harness.evidence.trajectory import FileEvidence, RunEvidence, TrajectoryEvidence
from harness.judge.locate import state_tensors, untouched
from harness.judge.testimony import digests_in

PartState = Literal["held", "missing", "unneeded", "unknown"]
_MAX_STEPS = 400
_PYTHON_WORDS = 625
_NUMPY_WORDS = 624
_RNG_NAMES = re.compile(r"rng|random|generator")
_POSITION = re.compile(r"step|epoch|iter|batch|position")
_RECORDS = {
    "epoch": re.compile(r"(?<!last_)epoch"),
    "loss": re.compile(r"loss|metric"),
    "config": re.compile(r"config|args|hparams|hyper_?parameters|cfg"),
    "seed": re.compile(r"seed"),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the state: `text` says what was found, or what is not there."""

    name: str
    state: PartState
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint: one file, or the files of one folder together.

    Attributes:
        path: of the file with the weights.
        companions: files of its folder that were counted with it.
        step: after which the ledger saw these weights.
        parts: model, optimizer, scheduler, scaler, each generator, position.
        records: epoch, loss, config and seed, as far as they are there by name.
    """

    path: str
    companions: tuple[str, ...]
    step: int
    parts: tuple[Part, ...]
    records: tuple[str, ...]

    @property
    def missing(self) -> tuple[Part, ...]:
        """What is proven not to be there."""
        return tuple(part for part in self.parts if part.state == "missing")

    @property
    def unknown(self) -> tuple[Part, ...]:
        """What could not be told."""
        return tuple(part for part in self.parts if part.state == "unknown")

    @property
    def is_complete(self) -> bool:
        """Whether everything that is needed was found."""
        return not self.missing and not self.unknown

    @property
    def name(self) -> str:
        """How messages call it."""
        more = f" with {len(self.companions)} files beside it" if self.companions else ""
        return f"{self.path}{more} (step {self.step})"


def checkpoint_contents(trajectory: TrajectoryEvidence, *, is_scaled: bool = False) -> tuple[Checkpoint, ...]:
    """Every checkpoint of a trajectory whose weights the ledger knows, the newest first."""
    run = trajectory.runs[0] if trajectory.runs else None
    files = [file for file in trajectory.files if file.role == "checkpoint" and file.content is not None]
    if run is None or run.ledger is None or run.sidecar is None or not files:
        return ()
    needs = _Needs(run, is_scaled=is_scaled)
    placed = [(file, step) for file in files if (step := needs.step_of(file)) is not None]
    whole = {file.path for file, _ in placed}
    found = []
    for file, step in placed:
        alone = _read(needs, file, (), step)
        folder = file.path.rpartition("/")[0]
        beside = tuple(f for f in files if f.path not in whole and f.path.rpartition("/")[0] == folder)
        together = _read(needs, file, beside, step) if beside and not alone.is_complete else alone
        found.append(together if len(together.missing) < len(alone.missing) or together.is_complete else alone)
    return tuple(sorted(found, key=lambda one: (-one.step, one.path)))


class _Needs:
    """What the ledger says a checkpoint must hold, by step; read once each."""

    def __init__(self, run: RunEvidence, *, is_scaled: bool) -> None:
        assert run.ledger is not None
        self.run, self.ledger = run, run.ledger
        self.idle = untouched(run)
        self.is_scaled = is_scaled or any(step.skipped for step in self.ledger.steps)
        saved = {e.fields.get("step") for e in run.events if e.kind == "save_end"}
        known = {step for step in saved if type(step) is int and 0 < step <= self.ledger.last_step}
        self.steps = sorted(known | {self.ledger.last_step}, reverse=True)[:_MAX_STEPS]
        self._known: dict[tuple[str, int], dict[str, TensorEntry]] = {}

    def after(self, stream: str, step: int) -> dict[str, TensorEntry]:
        """A stream's tensors as they stood after a step; empty where nobody wrote them down."""
        key = (stream, step)
        if key not in self._known:
            self._known[key] = self._read(stream, step)
        return self._known[key]

    def _read(self, stream: str, step: int) -> dict[str, TensorEntry]:
        # Generators are recorded before the first forward of a step: their state after it is in the next record.
        number = step + 1 if stream == "rng" else step
        try:
            found = state_tensors(self.run, "step", number, stream)
            if found is None and step == self.ledger.last_step:
                found = state_tensors(self.run, "end", step, stream)
        except EvidenceError:
            return {}
        return found or {}

    def step_of(self, file: FileEvidence) -> int | None:
        """The step after which all weights were those of the file; of several, that with most of its moments."""
        digests = digests_in((file,))
        fitting = []
        for step in self.steps:
            weights = self.after("param", step)
            if weights and all(entry.digest in digests for entry in weights.values()):
                moments = self.after("optim", step)
                fitting.append((sum(entry.digest in digests for entry in moments.values()), step))
        return max(fitting)[1] if fitting else None

    @property
    def has_scheduler(self) -> bool:
        """Whether one of torch's schedulers sets the learning rate."""
        last = self.ledger.last_step
        return any(name.startswith("scheduler") for name in self.after("lr", last))


def _read(needs: _Needs, file: FileEvidence, beside: tuple[FileEvidence, ...], step: int) -> Checkpoint:
    unit = _Unit((file, *beside))
    weights, moments = needs.after("param", step), needs.after("optim", step)
    parts = (
        Part("model", "held", f"{len(weights)} of {len(weights)} trainable tensors"),
        _optimizer(unit, weights, moments),
        _scheduler(needs, unit),
        _scaler(needs, unit),
        *(_generator(needs, unit, name, step) for name in sorted(needs.after("rng", step))),
        _position(unit, file.path),
    )
    records = tuple(name for name, pattern in _RECORDS.items() if unit.has(pattern))
    return Checkpoint(path=file.path, companions=tuple(f.path for f in beside), step=step, parts=parts, records=records)


def _optimizer(unit: _Unit, weights: dict[str, TensorEntry], moments: dict[str, TensorEntry]) -> Part:
    wanted = {name: entry for name, entry in moments.items() if entry.dtype != "json" and entry.shape}
    if not wanted:
        return Part("optimizer", "unneeded", "the optimizer has no state for any tensor")
    absent = [name for name, entry in sorted(wanted.items()) if entry.digest not in unit.digests]
    found = f"{len(wanted) - len(absent)} of {len(wanted)} tensors of the optimizer"
    if not absent:
        return Part("optimizer", "held", found)
    there = Counter(tensor.shape for tensor in unit.tensors)
    needed = Counter(entry.shape for entry in (*weights.values(), *wanted.values()))
    lacking = [name for name in absent if there[wanted[name].shape] < needed[wanted[name].shape]]
    if lacking:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        return Part("optimizer", "missing", f"{found}: {lacking[0]}{more} not in it")
    return Part("optimizer", "unknown", f"{found} with the recorded bits")


def _scheduler(needs: _Needs, unit: _Unit) -> Part:
    if not needs.has_scheduler:
        return Part("scheduler", "unneeded", "no torch scheduler is in use")
    if unit.has(re.compile(r"last_epoch|sched")):
        return Part("scheduler", "held", "the scheduler's state")
    return Part("scheduler", "missing", "no state of the scheduler (no key `last_epoch`)")


def _scaler(needs: _Needs, unit: _Unit) -> Part:
    if unit.has(re.compile(r"^_?growth_(factor|tracker)$")):
        return Part("scaler", "held", "the gradient scaler's state")
    if not needs.is_scaled:
        return Part("scaler", "unneeded", "no gradient scaler is in use")
    return Part("scaler", "missing", "no state of the gradient scaler (no key `growth_factor`)")


def _generator(needs: _Needs, unit: _Unit, name: str, step: int) -> Part:
    part = f"RNG {name}"
    if name in needs.idle:
        return Part(part, "unneeded", f"nothing draws from the generator {name}")
    entry = needs.after("rng", step)[name]
    if entry.digest in unit.digests or (name == "python" and entry.digest in unit.python_states()):
        return Part(part, "held", f"the generator {name}, with the recorded bits")
    if name == "python":
        is_there = unit.has_row_of(_PYTHON_WORDS)
    elif name == "numpy":
        is_there = unit.has_row_of(_NUMPY_WORDS) or '"MT19937"' in unit.values.values()
    else:
        shapes = {tensor.shape for tensor in unit.tensors if tensor.dtype == "uint8"}
        is_there = entry.shape in shapes or any(unit.has_row_of(size) for size in entry.shape)
    if is_there:
        return Part(part, "held", f"a state of the generator {name}")
    if unit.has(_RNG_NAMES) or any(_RNG_NAMES.search(key) for key in unit.tensor_keys) or unit.has_numpy_object:
        return Part(part, "unknown", f"the generator {name}")
    return Part(part, "missing", f"no state of the generator {name}, which the training draws from")


def _position(unit: _Unit, path: str) -> Part:
    if unit.has(_POSITION) or re.search(r"[0-9]", path.rpartition("/")[2]):
        return Part("position", "held", "the place in the training (step, epoch or batch)")
    # Whoever derives the place from something else has no need of it: nothing to hold against the file.
    return Part("position", "unneeded", "no key names a step, epoch or batch")


class _Unit:
    """What is in one file, or in the files of a folder together."""

    def __init__(self, files: tuple[FileEvidence, ...]) -> None:
        contents = [file.content for file in files if file.content is not None]
        self.digests = digests_in(files)
        self.tensors = [tensor for content in contents for tensor in content.tensors]
        self.values = {path: text for content in contents for path, text in content.values}
        self.has_numpy_object = any(name.split(".")[0] == "numpy" for c in contents for _, name in c.opaque)
        # What the optimizer's own state calls `step` is no place in the training, and a layer's name says nothing.
        self._keys = _keys([*self.values, *(path for content in contents for path, _ in content.opaque)])
        self.tensor_keys = _keys(tensor.name for tensor in self.tensors)
        self._rows = Counter(path.rpartition("/")[0] for path in self.values if path.rpartition("/")[2].isdigit())

    def has(self, pattern: re.Pattern[str]) -> bool:
        """Whether a key near the top matches, of what is no tensor."""
        return any(pattern.search(key) for key in self._keys)

    def has_row_of(self, length: int) -> bool:
        """Whether a list of so many values is in it."""
        return length in self._rows.values()

    def python_states(self) -> Iterator[str]:
        """The digests, as the recorder makes them, of every state of Python's generator that is in it."""
        for parent, length in self._rows.items():
            if length != _PYTHON_WORDS or not parent.endswith("/1"):
                continue
            words = [self.values.get(f"{parent}/{index}", "") for index in range(_PYTHON_WORDS)]
            if not all(word.isdigit() and len(word) <= 10 and int(word) < 1 << 32 for word in words):
                continue
            top = parent[:-2]
            packed = b"".join(int(word).to_bytes(4, "little") for word in words).hex()
            version, gauss = self.values.get(f"{top}/0", ""), self.values.get(f"{top}/2", "null")
            if version.isdigit() and len(version) < 4 and gauss == "null":
                data = canonical_json([int(version), packed, None])
                yield from (str(tensor_digest(data, "uint8", (len(data),), one)) for one in ALGORITHMS)


def _keys(paths: Iterable[str]) -> set[str]:
    return {part.lower() for path in paths if "optim" not in path.lower() for part in path.split("/")[:4]}
