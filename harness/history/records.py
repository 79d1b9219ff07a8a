"""History: what certifies of one experiment left, one after another, and what changed between two of them.

Everything here is read from documents that anybody may have edited: a field of a wrong type is an absent one.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.evidence.ledger import Ledger
from harness.history.lock_changes import PinChange

Source = Literal["runs", "manifests", "both"]
RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{7}-[0-9a-f]{4}")
_STRAIGHT = "straight"
_MAX_TEXT = 300
_MAX_VALUES = 200
_SECTIONS = ("experiment", "prepared", "environment", "harness")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What people look at first: the steps of the straight run, its last loss, its seconds; None where not known.

    `last_loss` is the sum over the micro-batches of the last step, as the recorder's plots have it.
    """

    steps: int | None = None
    last_loss: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One certify or replay, as its documents tell.

    Attributes:
        run_id: `<UTC time>-<commit>-<random>`.
        date: the run id's time, ISO 8601.
        source: in which of `runs/` and `manifests/` it was found.
        kind: `certify` or `replay`.
        scope: `the first 20 of 60 steps`, or "" for a whole training.
        machine: processor and GPUs in words.
        ledger_head: of the straight run; it covers every step of it.
        outputs: content digest of every declared output of the straight run, by path.
        manifest: the whole document; empty where there is none.
    """

    run_id: str
    date: str
    source: Source
    kind: str
    verdict: str
    scope: str
    commit: str
    dirty: bool
    runner: str
    image_id: str
    machine: str
    figures: Figures
    ledger_head: str
    outputs: Mapping[str, str]
    manifest: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As `harness history --json` has it: without the manifest, which lies beside the verdict."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields |= {"figures": dataclasses.asdict(self.figures), "outputs": dict(self.outputs)}
        return {key: value for key, value in fields.items() if key != "manifest"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A file that two commits do not have alike; the numbers of lines are None for what is no text."""

    path: str
    added: int | None
    removed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueChange:
    """A value of the documents that is not the same; None where it is not there."""

    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstDifference:
    """The first stream that two ledgers do not have alike."""

    step: int
    stream: str
    phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """What the repository and the ledgers tell of two records.

    Attributes:
        num_commits: between the two commits; None where git does not know one of them.
        subjects: `hash subject` of the newest of them.
        is_backwards: the second record's commit is the older one, or on another branch.
        files: changed files that the experiment is known to use.
        num_other_files: how many others changed.
        pins: of the image's lock; None where a lock could not be read.
        num_steps: how many steps of the two ledgers were compared; None where they are not both at hand.
        first_difference: of those.
    """

    num_commits: int | None = None
    subjects: tuple[str, ...] = ()
    is_backwards: bool = False
    files: tuple[FileChange, ...] = ()
    num_other_files: int = 0
    pins: tuple[PinChange, ...] | None = None
    num_steps: int | None = None
    first_difference: FirstDifference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What changed from one record to the next.

    Attributes:
        numbers_equal: whether outputs and ledgers are the same, as far as both are at hand; None if nothing is.
        different_outputs: paths of outputs that are not the same.
        causes: the kinds of things that changed, any of which may have changed the numbers.
    """

    before: str
    after: str
    between: Between
    values: tuple[ValueChange, ...]
    image: tuple[str, str] | None
    numbers_equal: bool | None
    different_outputs: tuple[str, ...]
    causes: tuple[str, ...]

    @property
    def is_unexplained(self) -> bool:
        """Whether the numbers changed though nothing that they are known to depend on did."""
        return self.numbers_equal is False and not set(self.causes) - {"other files"}

    def to_json(self) -> dict[str, Any]:
        """As `harness history --json` has it."""
        return {
            **{key: value for key, value in dataclasses.asdict(self).items() if key not in ("between", "image")},
            **dataclasses.asdict(self.between),
            "pins": None if self.between.pins is None else [pin.to_json() for pin in self.between.pins],
            "image": None if self.image is None else list(self.image),
            "is_unexplained": self.is_unexplained,
        }


def read_record(
    run_id: str, source: Source, verdict: Mapping[str, Any], manifest: Mapping[str, Any], ledger: Ledger | None
) -> Record:
    """What two documents and the straight ledger tell of a run; whatever they hold, this does not fail."""
    scope = _table(verdict, "scope") or _table(manifest, "scope")
    steps, of = _integer(scope.get("steps")), _integer(scope.get("of"))
    files = _table(manifest, "trajectories", _STRAIGHT, "files")
    heads = _table(manifest, "trajectories", _STRAIGHT).get("ledgers")
    outputs = {
        _text(path): _text(file.get("content") or file.get("sha256"))
        for path, file in sorted(files.items())
        if isinstance(file, dict) and file.get("role") == "output"
    }
    return Record(
        run_id=run_id,
        date=_date(run_id),
        source=source,
        kind=_text(verdict.get("kind")) or "certify",
        verdict=_text(verdict.get("verdict")),
        scope=f"the first {steps} of {of} steps" if steps is not None and of is not None else "",
        commit=_text(verdict.get("commit") or manifest.get("commit")),
        dirty=verdict.get("dirty") is True or manifest.get("dirty") is True,
        runner=_text(verdict.get("runner") or manifest.get("runner")),
        image_id=_text(_table(manifest, "image").get("id")),
        machine=_machine(_table(manifest, "environment", "host")),
        figures=_figures(manifest, ledger),
        ledger_head=_text(heads[0]) if isinstance(heads, list) and heads else "",
        outputs={path: digest for path, digest in outputs.items() if digest},
        manifest=manifest,
    )


def compare(before: Record, after: Record, between: Between) -> Change:
    """What changed from one record to the next."""
    outputs = _different_outputs(before, after)
    values = tuple(
        change for section in _SECTIONS for change in changed_values(before.manifest, after.manifest, section)
    )
    image = (before.image_id, after.image_id) if before.image_id != after.image_id else None
    return Change(
        before=before.run_id,
        after=after.run_id,
        between=between,
        values=values,
        image=image,
        numbers_equal=_numbers_equal(before, after, between, outputs),
        different_outputs=outputs or (),
        causes=_causes(before, after, between, values),
    )


def changed_values(before: Mapping[str, Any], after: Mapping[str, Any], section: str) -> tuple[ValueChange, ...]:
    """The values below a key of two manifests that are not the same, in the order of their paths.

    Compared by deepdiff; sequences count by position. At most 200 are told.
    """
    from deepdiff import DeepDiff  # half a second of import that only this needs

    one, two = ({k: v for k, v in _table(side, section).items() if k != "description"} for side in (before, after))
    if one == two:
        return ()
    tree = DeepDiff(one, two, view="tree", threshold_to_diff_deeper=0)
    found = []
    for kind in sorted(tree):
        for level in tree[kind]:
            path = ".".join((section, *(_text(part) for part in level.path(output_format="list"))))
            left = None if kind.endswith("_added") else _shown(level.t1)
            right = None if kind.endswith("_removed") else _shown(level.t2)
            found.append(ValueChange(path=path, before=left, after=right))
    return tuple(sorted(found, key=lambda change: change.path)[:_MAX_VALUES])


def change_to(records: Sequence[Record], place: int) -> tuple[Record, Record] | None:
    """The record at a place with the one that it is to be held against; None for the first that can be.

    Runs that never came to train have no numbers and are passed over.
    """
    earlier = [record for record in records[:place] if record.ledger_head]
    return (earlier[-1], records[place]) if earlier and records[place].ledger_head else None


def _numbers_equal(before: Record, after: Record, between: Between, outputs: tuple[str, ...] | None) -> bool | None:
    found: list[bool] = [] if outputs is None else [not outputs]
    if before.ledger_head and before.ledger_head == after.ledger_head:
        found.append(True)
    elif between.num_steps:
        found.append(between.first_difference is None)
    elif before.ledger_head and after.ledger_head and _extent(before) == _extent(after):
        found.append(False)
    return all(found) if found else None


def _different_outputs(before: Record, after: Record) -> tuple[str, ...] | None:
    """Paths of outputs that differ; None where one side has none."""
    one, two = before.outputs, after.outputs
    if not one or not two:
        return None
    return tuple(path for path in sorted(one.keys() | two.keys()) if one.get(path) != two.get(path))


def _causes(before: Record, after: Record, between: Between, values: tuple[ValueChange, ...]) -> tuple[str, ...]:
    tops = {".".join(change.path.split(".")[:2]) for change in values} | {c.path.partition(".")[0] for c in values}
    is_code_equal = _table(before.manifest, "code") == _table(after.manifest, "code")
    found = {
        "code": bool(between.files),
        "uncommitted changes": (before.dirty or after.dirty) and not is_code_equal,
        "other files": not is_code_equal and not between.files and not (before.dirty or after.dirty),
        "lock": bool(between.pins),
        "image": before.image_id != after.image_id,
        "experiment": "experiment" in tops,
        "prepared inputs": "prepared" in tops,
        "environment": "environment" in tops,
        "recorder": "harness.recorder" in tops,
        "runner": before.runner != after.runner,
    }
    return tuple(kind for kind, is_so in found.items() if is_so)


def _figures(manifest: Mapping[str, Any], ledger: Ledger | None) -> Figures:
    steps = _integer(_table(manifest, "scope").get("steps")) or _integer(_table(manifest, "experiment").get("steps"))
    loss = None
    if ledger is not None and ledger.steps:
        steps = ledger.last_step
        total = sum(float.fromhex(one) for one in ledger.steps[-1].loss)
        loss = total if ledger.steps[-1].loss and math.isfinite(total) else None
    runs = _table(manifest, "volatile").get("runs")
    rows = [row for row in runs if isinstance(row, dict)] if isinstance(runs, list) else []
    seconds = next((_number(row.get("seconds")) for row in rows if row.get("run") == f"{_STRAIGHT}/1"), None)
    return Figures(steps=steps, last_loss=loss, seconds=seconds)


def _machine(host: Mapping[str, Any]) -> str:
    gpus = host.get("gpus")
    named = gpus if isinstance(gpus, list) else []
    names = [_text(gpu.get("name")) if isinstance(gpu, dict) else _text(gpu) for gpu in named]
    cores = _integer(host.get("cores"))
    cpu = _text(host.get("cpu")) + (f", {cores} cores" if cores is not None else "")
    return ", ".join(part for part in (cpu, *names[:8]) if part)


def _extent(record: Record) -> tuple[str, str]:
    """What a ledger's head covers beside the numbers: how many steps, and how the recorder writes them."""
    return record.scope, _text(_table(record.manifest, "harness").get("recorder"))


def _date(run_id: str) -> str:
    """`20261123T160543Z-...` as `2026-11-23T16:05:43Z`."""
    t = run_id.partition("-")[0]
    return f"{t[:4]}-{t[4:6]}-{t[6:8]}T{t[9:11]}:{t[11:13]}:{t[13:15]}Z"


def _table(value: object, *path: str) -> Mapping[str, Any]:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value[:_MAX_TEXT] if isinstance(value, str) else "" if value is None else str(value)[:_MAX_TEXT]


def _shown(value: object) -> str:
    return _text(value) if isinstance(value, str) else repr(value)[:_MAX_TEXT]


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53 else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e15 or value != value:
        return None
    return float(value)
