"""Ledgers: what the recorder wrote about one process, parsed from bytes that nobody has to trust.

`ledger.jsonl` and `events.jsonl` are hash chains of canonical JSON; `tensors.jsonl` (the sidecar) has no chain of its
own, its entries are believed only where they hash to the root that the ledger holds. The formats are those of
pipelines/README.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.documents.digest import Data, Digest, canonical_json, chunks
from harness.errors import EvidenceError
from harness.evidence.tensor_digest import ALGORITHMS, stream_root

STREAMS = ("data", "rng", "lr", "loss", "grad", "optim", "param", "buffer")
"""The streams of a step, in causal order."""

STATE_STREAMS = ("rng", "lr", "optim", "param", "buffer", "frozen")
MAX_LINE_BYTES = 8 << 20
MAX_SIDECAR_LINE_BYTES = 64 << 20
MAX_FILE_BYTES = 1 << 30
_MAX_STEP = 1 << 48
_MAX_DEPTH_PROBLEM = "nested too deeply"
_SOURCES = ("content", "file", "optimizer", "param", "fresh")
_EMPTY = hashlib.sha256(b"").hexdigest()
_REMEDY = "the file was cut, edited or written by something else than the recorder: run the experiment again"
_SIDECAR_HEAD = re.compile(
    rb'\{"at":"(start|before|step|end)","step":([0-9]{1,15}),"stream":"([a-z_]{1,32})","tensors":\{'
)

Streams = Mapping[str, Digest]
At = Literal["start", "before", "step", "end"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRecord:
    """The whole state at the start or the end of a process.

    Attributes:
        source: the start's `step_source`.
        algorithm: at the start, of the tensors' digests; ledgers that do not say have sm128.
    """

    step: int
    source: str
    streams: Streams
    counts: Mapping[str, int]
    algorithm: str = "sm128"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One optimizer step; `loss` and `lr` are hexadecimal floats, one loss per micro-batch.

    Attributes:
        before: the streams that moved between the step before and this one's first forward, as they were then.
        rng_within: the generators after some of its micro-batches: where a checkpoint was written in the middle.
    """

    step: int
    micro_batches: int
    skipped: bool
    loss: tuple[str, ...]
    lr: tuple[str, ...]
    streams: Streams
    before: Streams = field(default_factory=dict)
    rng_within: Streams = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRecord:
    """The evaluation forwards after a step."""

    step: int
    loss: tuple[str, ...]
    streams: Streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """One process; `steps` are consecutive from `start.step + 1`; `torn` if the last line was cut by the kill."""

    name: str
    start: StateRecord
    steps: tuple[StepRecord, ...]
    evals: tuple[EvalRecord, ...]
    end: StateRecord | None
    torn: bool
    head: Digest

    @property
    def last_step(self) -> int:
        """The last step that has a record; `start.step` if none has."""
        return self.steps[-1].step if self.steps else self.start.step


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event: `process`, `save_begin`, `restore`, `fault` ..., and its fields."""

    kind: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One line of progress: volatile, for plots only; anything not written is None."""

    step: int
    loss: float | None
    lr: float | None
    seconds: float | None
    rss_bytes: int | None
    vram_bytes: int | None
    recorder_seconds: float | None


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor in a sidecar; dtype `json` for a value that is no tensor."""

    dtype: str
    shape: tuple[int, ...]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """The per-tensor digests of a process, read when they are asked for.

    `index` maps (at, step, stream) to the place of its line; a later line for the same key replaces an earlier one.
    """

    name: str
    data: Data = field(repr=False)
    index: Mapping[tuple[str, int, str], tuple[int, int, int]]
    torn: bool

    def tensors(self, at: At, step: int, stream: str, root: Digest | None = None) -> dict[str, TensorEntry] | None:
        """The tensors of one stream at one place, by name; None if nothing was written for it.

        Raises:
            EvidenceError: the line is malformed, or does not hash to `root`.
        """
        place = self.index.get((at, step, stream))
        if place is None:
            return None
        number, begin, end = place
        line = _Line(self.name, number, _parse_json(self.data[begin:end], self.name, number))
        tensors = {name: _tensor_entry(line, name, value) for name, value in line.mapping("tensors").items()}
        found = stream_root((n, t.dtype, t.shape, t.digest) for n, t in tensors.items())
        if root is not None and found != root:
            raise line.error(f"the tensors of {stream} hash to {found}", f"the ledger's root {root}")
        return tensors


@dataclass(frozen=True, slots=True)
class _Line:
    """One record with the place it came from, for errors that say where."""

    name: str
    number: int
    record: Mapping[str, Any]

    def error(self, found: str, expected: str) -> EvidenceError:
        return _malformed(self.name, self.number, found, expected)

    def get(self, key: str) -> Any:
        if key not in self.record:
            raise self.error(f"no {key!r}", f"a record with {key!r}")
        return self.record[key]

    def integer(self, key: str, lowest: int = 0) -> int:
        value = self.get(key)
        if type(value) is not int or not lowest <= value <= _MAX_STEP:
            raise self.error(f"{key} is {_show(value)}", f"an integer from {lowest}")
        return value

    def text(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str):
            raise self.error(f"{key} is {_show(value)}", "a string")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        value = self.get(key)
        if not isinstance(value, dict):
            raise self.error(f"{key} is {_show(value)}", "an object")
        return value

    def floats(self, key: str) -> tuple[str, ...]:
        value = self.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) and _is_hex_float(item) for item in value):
            raise self.error(f"{key} is {_show(value)}", "a list of hexadecimal floats")
        return tuple(value)

    def streams(self, name: str = "streams") -> dict[str, Digest]:
        return {key: self._root(key, value) for key, value in sorted(self.mapping(name).items())}

    def counts(self) -> dict[str, int]:
        counts = self.mapping("counts")
        for key, value in counts.items():
            if type(value) is not int or not 0 <= value <= _MAX_STEP:
                raise self.error(f"counts.{_show(key)} is {_show(value)}", "a number of tensors")
        return dict(sorted(counts.items()))

    def _root(self, key: str, value: Any) -> Digest:
        try:
            digest = Digest.parse(value)
        except (ValueError, AttributeError):
            raise self.error(f"streams.{_show(key)} is {_show(value)}", "sha256:<64 hex digits>") from None
        if digest.algorithm != "sha256":
            raise self.error(f"streams.{_show(key)} is {_show(value)}", "sha256:<64 hex digits>")
        return digest


def parse_ledger(data: bytes, name: str, *, killed: bool = False) -> Ledger:
    """Read a `ledger.jsonl`.

    Args:
        data: the bytes of the file.
        name: how errors call the file.
        killed: whether the process was killed: only then a torn last line is dropped.

    Raises:
        EvidenceError: the chain, the encoding, the order of steps or a field is wrong; it says which line.
    """
    reader = _Chain(data, name, killed)
    start: StateRecord | None = None
    end: StateRecord | None = None
    steps: list[StepRecord] = []
    evals: list[EvalRecord] = []
    for line in reader:
        kind = line.text("kind")
        if end is not None:
            raise line.error(f"a record {_show(kind)} after the end", "nothing after `end`")
        if kind == "start" and start is None:
            start = _start(line)
        elif kind == "eval":
            evals.append(EvalRecord(step=line.integer("step"), loss=line.floats("loss"), streams=line.streams()))
        elif kind == "step" and start is not None:
            steps.append(_step(line, expected=(steps[-1].step if steps else start.step) + 1))
        elif kind == "end" and start is not None:
            end = _end(line, expected=steps[-1].step if steps else start.step)
        else:
            expected = "one `start`, then steps, evaluations and one `end`"
            raise line.error(f"a record {_show(kind)} in this place", expected)
    if start is None:
        raise EvidenceError(f"{name}: no `start` record; the recorder saw no training forward", _REMEDY)
    return Ledger(
        name=name,
        start=start,
        steps=tuple(steps),
        evals=tuple(evals),
        end=end,
        torn=reader.torn,
        head=Digest("sha256", reader.head),
    )


def parse_events(data: bytes, name: str, *, killed: bool = False) -> tuple[Event, ...]:
    """Read an `events.jsonl`.

    Raises:
        EvidenceError: the chain or the encoding is wrong; it says which line.
    """
    events = []
    for line in _Chain(data, name, killed):
        fields = {key: value for key, value in line.record.items() if key not in ("kind", "chain")}
        events.append(Event(kind=line.text("kind"), fields=fields))
    return tuple(events)


def parse_sidecar(data: Data, name: str, *, killed: bool = False) -> Sidecar:
    """Index a `tensors.jsonl`; its lines are parsed when they are asked for.

    Raises:
        EvidenceError: a line that does not begin as a sidecar's line must, or is longer than 64 MiB.
    """
    index: dict[tuple[str, int, str], tuple[int, int, int]] = {}
    places = _Lines(data, name, killed, MAX_SIDECAR_LINE_BYTES)
    for number, begin, raw in places:
        head = _SIDECAR_HEAD.match(raw[:200])
        if head is None:
            raise _malformed(name, number, _show(raw[:60]), 'a line {"at":...,"step":...,"stream":...')
        index[(head[1].decode(), int(head[2]), head[3].decode())] = (number, begin, begin + len(raw))
    return Sidecar(name=name, data=data, index=index, torn=places.torn)


def parse_progress(data: bytes, name: str, *, killed: bool = False) -> tuple[Progress, ...]:
    """Read a `progress.jsonl`; a value that is not a number is None.

    Raises:
        EvidenceError: a line is not a JSON object with a step.
    """
    rows = []
    for number, _, raw in _Lines(data, name, killed, MAX_LINE_BYTES):
        line = _Line(name, number, _parse_json(raw, name, number))
        rows.append(
            Progress(
                step=line.integer("step"),
                loss=_number(line.record.get("loss")),
                lr=_number(line.record.get("lr")),
                seconds=_number(line.record.get("seconds")),
                rss_bytes=_whole(line.record.get("rss_bytes")),
                vram_bytes=_whole(line.record.get("vram_bytes")),
                recorder_seconds=_number(line.record.get("recorder_seconds")),
            )
        )
    return tuple(rows)


def rechain(data: bytes) -> bytes:
    """The same records with their chain computed anew, as a forger would do it; a control needs that.

    Raises:
        EvidenceError: a line is not a JSON object.
    """
    head = _EMPTY
    lines = []
    for number, line in enumerate(data.splitlines(), start=1):
        record = {k: v for k, v in _parse_json(line, "a copy of the ledger", number).items() if k != "chain"}
        head = _link(head, canonical_json(record))
        lines.append(canonical_json({**record, "chain": head}) + b"\n")
    return b"".join(lines)


class _Lines:
    """The lines of a file as (number, begin, bytes); afterwards `torn` says whether a torn last line was dropped."""

    def __init__(self, data: Data, name: str, killed: bool, longest: int) -> None:
        self.torn = False
        self._data, self._name, self._killed, self._longest = data, name, killed, longest
        if len(data) > MAX_FILE_BYTES:
            raise EvidenceError(f"{name} has {len(data)} bytes, at most {MAX_FILE_BYTES} are read", _REMEDY)

    def __iter__(self) -> Iterator[tuple[int, int, bytes]]:
        begin, number, pending = 0, 1, b""
        for chunk in chunks(self._data):
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                self._check(number, line)
                yield number, begin, line
                begin, number = begin + len(line) + 1, number + 1
            self._check(number, pending)
        if pending and not self._killed:
            raise _malformed(self._name, number, "a torn last line", "a line end, for nothing killed the run")
        self.torn = bool(pending)

    def _check(self, number: int, line: bytes) -> None:
        if len(line) > self._longest:
            raise _malformed(self._name, number, "a longer line", f"at most {self._longest} bytes")


class _Chain:
    """The records of a chained file, each checked against the chain; `head` and `torn` are set as it is read."""

    def __init__(self, data: bytes, name: str, killed: bool) -> None:
        self.head = _EMPTY
        self._name = name
        self._places = _Lines(data, name, killed, MAX_LINE_BYTES)

    @property
    def torn(self) -> bool:
        return self._places.torn

    def __iter__(self) -> Iterator[_Line]:
        for number, _, raw in self._places:
            record = _parse_json(raw, self._name, number)
            line = _Line(self._name, number, record)
            if _canonical(line) != raw:
                raise line.error("another encoding", "canonical JSON: sorted keys, no spaces, ASCII")
            claimed = line.text("chain")
            self.head = _link(self.head, canonical_json({k: v for k, v in record.items() if k != "chain"}))
            if claimed != self.head:
                raise line.error(f"chain {_show(claimed)}", self.head)
            yield line


def _link(head: str, record: bytes) -> str:
    return hashlib.sha256(head.encode("ascii") + record).hexdigest()


def _parse_json(raw: bytes, name: str, number: int) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode("ascii"))
        # A lone surrogate is legal JSON and no legal UTF-8; names are digested as UTF-8.
        if b"\\ud" in raw.lower():
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise _malformed(name, number, _MAX_DEPTH_PROBLEM, "a flat record") from None
    except ValueError as error:
        raise _malformed(name, number, f"no JSON ({str(error)[:80]})", "one JSON object in ASCII") from None
    if not isinstance(value, dict):
        raise _malformed(name, number, f"a {type(value).__name__}", "one JSON object")
    return value


def _canonical(line: _Line) -> bytes:
    try:
        return canonical_json(dict(line.record))
    except RecursionError:
        raise line.error(_MAX_DEPTH_PROBLEM, "a flat record") from None
    except ValueError:
        raise line.error("a number that JSON does not have", "finite numbers") from None


def _start(line: _Line) -> StateRecord:
    if line.integer("schema") != 1:
        raise line.error(f"schema {line.get('schema')}", "schema 1")
    source = line.text("step_source")
    if source not in _SOURCES:
        raise line.error(f"step_source {_show(source)}", f"one of {', '.join(_SOURCES)}")
    algorithm = line.record.get("digest", "sm128")
    if algorithm not in ALGORITHMS:
        raise line.error(f"digest {_show(algorithm)}", f"one of {', '.join(ALGORITHMS)}; a newer version may read it")
    return StateRecord(
        step=line.integer("step"), source=source, streams=line.streams(), counts=line.counts(), algorithm=algorithm
    )


def _end(line: _Line, expected: int) -> StateRecord:
    step = line.integer("step")
    if step != expected:
        raise line.error(f"the end at step {step}", f"step {expected}, the last one recorded")
    return StateRecord(step=step, source="", streams=line.streams(), counts=line.counts())


def _step(line: _Line, expected: int) -> StepRecord:
    step = line.integer("step")
    if step != expected:
        raise line.error(f"step {step}", f"step {expected}: steps are consecutive")
    skipped = line.get("skipped")
    if not isinstance(skipped, bool):
        raise line.error(f"skipped is {_show(skipped)}", "true or false")
    return StepRecord(
        step=step,
        micro_batches=line.integer("micro_batches"),
        skipped=skipped,
        loss=line.floats("loss"),
        lr=line.floats("lr"),
        streams=line.streams(),
        before=line.streams("before") if "before" in line.record else {},
        rng_within=line.streams("rng_within") if "rng_within" in line.record else {},
    )


def _tensor_entry(line: _Line, name: str, value: Any) -> TensorEntry:
    match value:
        case [str(dtype), list(shape), str(digest)] if all(type(d) is int and 0 <= d <= _MAX_STEP for d in shape):
            return TensorEntry(dtype, tuple(shape), digest)
    raise line.error(f"{_show(name)} is {_show(value)}", "[dtype, [sizes], digest]")


def _is_hex_float(text: str) -> bool:
    try:
        float.fromhex(text)
    except (ValueError, OverflowError):
        return False
    return len(text) <= 40


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _whole(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= _MAX_STEP else None


def _show(value: Any) -> str:
    """A value for an error message: short, and without control characters."""
    try:
        text = ascii(value)
    except (RecursionError, ValueError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


def _malformed(name: str, number: int, found: str, expected: str) -> EvidenceError:
    return EvidenceError(f"{name}, line {number}: found {found}, expected {expected}", _REMEDY)
