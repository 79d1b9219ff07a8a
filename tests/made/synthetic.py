"""A tiny training in plain arithmetic, recorded by a writer of its own: evidence whose truth is known.

Nothing is shared with the recorder or with harness/: digests, chains and files are written here a second time, from
pipelines/README.md, so that a mistake in one of them shows.
"""

from __future__ import annotations

import copy
import hashlib
import json
import struct
from dataclasses import dataclass, field, replace

import numpy as np

from harness.documents.digest import Digest
from harness.documents.run import Fault, RunRecord
from harness.documents.verdict import ControlResult
from harness.evidence.content import read_content
from harness.evidence.ledger import parse_events, parse_ledger, parse_sidecar
from harness.evidence.trajectory import FileEvidence, RunEvidence, TrajectoryEvidence
from harness.judge.verdict_inputs import Rebuild, VerdictInputs
from harness.review.evidence.basis import Basis
from harness.review.finding import Finding, Place, StaticReview
from harness.review.reviewer import reviewer_of
from tests.unit.recorder.digest_reference import reference_digest

STEPS = 8
EVERY = 2
NAMES = ("layers.0.weight", "layers.10.weight", "layers.2.weight")
KILL = Fault(kind="micro_batch", step=6, micro_batch=1)
IMAGE = "sha256:" + "ab" * 32


def entry(array: np.ndarray) -> list:
    dtype = {"<f4": "float32", "<i8": "int64", "|u1": "uint8"}[array.dtype.str]
    shape = list(array.shape)
    return [dtype, shape, reference_digest(dtype, shape, array.tobytes())]


def json_entry(value: object) -> list:
    data = canonical(value)
    return ["json", [], reference_digest("uint8", [len(data)], data)]


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def root(entries: dict[str, list]) -> str:
    lines = sorted(f"{n}|{t}|{'x'.join(map(str, s))}|{d}\n" for n, (t, s, d) in entries.items())
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def chain(records: list[dict]) -> bytes:
    head, lines = hashlib.sha256(b"").hexdigest(), []
    for record in records:
        head = hashlib.sha256(head.encode() + canonical(record)).hexdigest()
        lines.append(canonical({**record, "chain": head}) + b"\n")
    return b"".join(lines)


@dataclass
class State:
    """The whole state of the training after `step` steps."""

    step: int = 0
    params: dict = field(default_factory=lambda: {n: np.arange(4, dtype="<f4") + i for i, n in enumerate(NAMES)})
    moments: dict = field(default_factory=dict)
    frozen: dict = field(default_factory=lambda: {"base": np.full(3, 7, dtype="<f4")})
    buffers: dict = field(default_factory=lambda: {"mean": np.zeros(2, dtype="<f4")})
    rng: int = 17
    python: int = 5
    batch: int = 0
    schedule: int = 0


@dataclass
class Files:
    """What a process wrote: a folder."""

    files: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Quirks:
    """What is wrong with one process; each is a mistake that real pipelines make.

    `forget` names state that a resume does not bring back; `noise` adds one bit at (step, stream); `still` names
    parameters that the optimizer leaves alone; `shift` is by how many micro-batches the data are ahead, `period` after
    how many steps they begin again. From the step `plateau` on a schedule that follows a metric had a better one; a
    process with `more_inputs` records what goes into a module that needs no gradient there.
    """

    forget: tuple[str, ...] = ()
    noise: tuple[int, str] | None = None
    unseeded: tuple[str, ...] = ()
    round_to: str | None = None
    learning: float = 0.25
    still: tuple[str, ...] = ()
    without_grad: tuple[str, ...] = ()
    draws: bool = True
    scale: float = 1.0
    shift: int = 0
    period: int = STEPS
    plateau: int = 0
    more_inputs: bool = False
    flip_param: int | None = None
    flip_optim: bool = False
    saves_rows_twice: bool = False
    claims_step: int | None = None
    source: str | None = None
    no_saves: bool = False
    stops_at: int | None = None
    unknown_at_start: tuple[tuple[str, str], ...] = ()
    rename_at_start: tuple[tuple[str, str, str], ...] = ()
    copy_at_start: tuple[tuple[str, str, str], ...] = ()


class Process:
    """One process: trains, saves every second step, records."""

    def __init__(self, folder: Files, quirks: Quirks = Quirks(), earlier: list | None = None) -> None:
        self.folder, self.quirks, self.earlier = folder, quirks, earlier or []
        self.ledger: list[dict] = []
        self.events: list[dict] = [{"kind": "process", "argv": ["train.py"], "versions": {"torch": "0"}}]
        self.sidecar: list[dict] = []

    def train(self, state: State, kill: Fault | None = None, steps: int = STEPS) -> State:
        quirks = self.quirks
        if quirks.flip_optim:
            name = min(state.moments)
            state.moments[name] = state.moments[name].copy()
            state.moments[name].view("<u4")[0] ^= 1 << 22
            self.fault(Fault(kind="flip_optim", step=0), tensor=f"{name}.exp_avg")
        self.whole("start", state, schema=1, digest="ml128", step_source=quirks.source or self.source(state))
        steps = min(steps, quirks.stops_at or steps)
        while state.step < steps:
            number = state.step + 1
            if kill and kill.kind == "before_step" and kill.step == number:
                return self.die(kill, state)
            before = self.rng(state)
            if quirks.draws:
                state.rng = state.rng * 48271 % 2147483647
            if kill and kill.kind == "micro_batch" and kill.step == number:
                return self.die(kill, state)
            self.step(state, number, before)
            if quirks.flip_param == number:
                self.fault(Fault(kind="flip_param", step=number))
            if kill and kill.kind in ("after_step", "stop") and kill.step == number:
                return self.die(kill, state)
            if kill and kill.kind == "signal" and kill.step == number:
                return self.answer(kill, state)
            if number == 4:
                self.ledger.append(
                    {
                        "kind": "eval",
                        "step": 4,
                        "loss": ["0x1.8p+0"],
                        "streams": {"eval": root({"1.ids": json_entry(4)})},
                    }
                )
            if state.step % EVERY == 0 and not quirks.no_saves:
                self.save(state, kill)
                if self.is_dead:
                    return state
        self.whole("end", state)
        self.events.append({"kind": "exit"})
        self.folder.files["adapter.safetensors"] = safetensors(state.params)
        return state

    is_dead = False

    def step(self, state: State, number: int, before: dict) -> None:
        quirks = self.quirks

        def noise(stream: str) -> float:
            return 2.0**-20 if quirks.noise == (number, stream) else 0.0

        extra = (noise("data"), noise("data") or noise("second batch"))
        place = state.batch % quirks.period * 2 + quirks.shift
        batch = [np.array([place + i + (9 if extra[i] else 0)], dtype="<i8") for i in (0, 1)]
        state.batch += 1
        state.schedule += 1
        lr = quirks.learning / state.schedule + noise("lr")
        mask = state.rng % 7 if quirks.draws else 3
        level = float(sum(p.sum() for p in state.params.values()))
        losses = [
            float(np.float32(quirks.scale * (level + float(b[0]) / 8 + mask / 16 + noise("loss") * 2**4)))
            for b in batch
        ]
        grads = {
            n: (p / 2 + np.float32(sum(losses)) / 64 + np.float32(noise("grad") * 64)).astype("<f4")
            for n, p in state.params.items()
        }
        for name in state.params:
            moment = state.moments.get(name, np.zeros(4, dtype="<f4"))
            state.moments[name] = (moment / 2 + grads[name] / 2 + np.float32(noise("optim"))).astype("<f4")
            rate = np.float32(0.0 if name in quirks.still else lr)
            change = rate * state.moments[name] * np.float32(0.01)
            state.params[name] = (state.params[name] - change).astype("<f4")
        if noise("param") or quirks.flip_param == number:
            first = min(state.params)
            state.params[first] = state.params[first].copy()
            state.params[first].view("<u4")[0] ^= 1
        state.buffers["mean"] = (state.buffers["mean"] + np.float32(1 + noise("buffer") * 2**10)).astype("<f4")
        state.step = number
        streams = {
            "data": {f"{i}.input_ids": entry(b) for i, b in enumerate(batch, 1)},
            "rng": before,
            "lr": {"optimizer0.0.lr": json_entry(float(lr).hex()), "scheduler0.last_epoch": json_entry(state.schedule)},
            "loss": {f"{i}.{i}": entry(np.array(loss, dtype="<f4")) for i, loss in enumerate(losses, 1)},
            "grad": {n: entry(g) for n, g in grads.items() if n not in quirks.without_grad},
            **self.after(state),
        }
        if quirks.plateau:
            streams["lr"]["scheduler0.best"] = json_entry(int(number >= quirks.plateau))
        if quirks.more_inputs:
            streams["data"]["1.+2.0"] = entry(np.zeros(4, dtype="<f4"))
        self.record(
            "step",
            number,
            streams,
            micro_batches=2,
            skipped=False,
            loss=[float(v).hex() for v in losses],
            lr=[float(lr).hex()],
        )
        rows = self.folder.files.get("metrics.jsonl", b"")
        row: dict[str, object] = {"step": number, "loss": losses[0], "seconds": len(rows) / 7 + len(self.earlier)}
        if quirks.saves_rows_twice and self.earlier:
            row["host"] = "b"
        self.folder.files["metrics.jsonl"] = rows + canonical(row) + b"\n"

    def after(self, state: State) -> dict:
        return {
            "optim": {f"{n}.exp_avg": entry(m) for n, m in state.moments.items()},
            "param": {n: entry(p) for n, p in state.params.items()},
            "buffer": {n: entry(b) for n, b in state.buffers.items()},
        }

    def rng(self, state: State) -> dict:
        return {
            "torch": entry(np.frombuffer(struct.pack("<q", state.rng), dtype="u1")),
            "python": json_entry(state.python),
        }

    def whole(self, kind: str, state: State, **extra: object) -> None:
        streams = {
            "rng": self.rng(state),
            "lr": {"optimizer0.0.lr": json_entry(state.schedule)},
            **self.after(state),
            "frozen": {n: entry(f) for n, f in state.frozen.items()},
        }
        step = state.step
        if kind == "start" and self.quirks.claims_step is not None:
            step = state.step = self.quirks.claims_step
        for stream, name in self.quirks.unknown_at_start if kind == "start" else ():
            del streams[stream][name]
        for stream, name, other in self.quirks.rename_at_start if kind == "start" else ():
            streams[stream][other] = streams[stream].pop(name)
        for stream, name, other in self.quirks.copy_at_start if kind == "start" else ():
            streams[stream][other] = streams[stream][name]
        self.record(kind, step, streams, counts={s: len(e) for s, e in streams.items()}, **extra)

    def record(self, kind: str, step: int, streams: dict, **extra: object) -> None:
        for stream, entries in streams.items():
            self.sidecar.append({"step": step, "at": kind, "stream": stream, "tensors": entries})
        self.ledger.append({"kind": kind, "step": step, "streams": {s: root(e) for s, e in streams.items()}, **extra})

    def source(self, state: State) -> str:
        after = self.after(state)
        wanted = (root(after["param"]), root(after["optim"]))
        for ledger in self.earlier:
            for record in ledger:
                streams = record["streams"]
                if (streams.get("param"), streams.get("optim")) == wanted:
                    return "content"
        return "fresh" if state.step == 0 else "param" if not state.moments else "optimizer"

    def save(self, state: State, kill: Fault | None) -> None:
        path = f"checkpoints/step{state.step}.safetensors"
        self.events.append({"kind": "save_begin", "path": path, "step": state.step})
        due = kill is not None and kill.step <= state.step
        if due and kill.kind in ("before_write", "in_write"):
            if kill.kind == "in_write":
                self.folder.files[path] = checkpoint(state)[: kill.byte]
            self.die(kill, state)
            return
        self.folder.files[path] = checkpoint(state)
        self.folder.files["state"] = copy.deepcopy(state)
        self.events.append({"kind": "save_end", "path": path, "step": state.step, "seconds": 0.5})
        if due and kill.kind == "after_write":
            self.die(kill, state)

    def fault(self, fault: Fault, **more: object) -> None:
        self.events.append({"kind": "fault", "fault": fault.to_json(), "waiting": fault.by == "outside", **more})

    def answer(self, kill: Fault, state: State) -> State:
        """Save when told to end, and end."""
        self.fault(kill, handled=True)
        self.save(state, None)
        self.events.append({"kind": "exit"})
        self.is_dead = True
        return state

    def die(self, kill: Fault, state: State) -> State:
        self.fault(kill)
        self.is_dead = True
        return state


def safetensors(tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> bytes:
    names = {"<f4": "F32", "<i8": "I64", "|u1": "U8", "<f2": "F16", "<u2": "BF16", "<f8": "F64"}
    header: dict = {"__metadata__": metadata} if metadata else {}
    body = b""
    for name, array in tensors.items():
        data = array.tobytes()
        header[name] = {
            "dtype": names[array.dtype.str],
            "shape": list(array.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def checkpoint(state: State) -> bytes:
    tensors = {f"model.{n}": p for n, p in state.params.items()} | {
        f"optim.{n}.exp_avg": m for n, m in state.moments.items()
    }
    return safetensors(tensors, {"step": str(state.step), "rng": str(state.rng)})


def restore(folder: Files, quirks: Quirks) -> State:
    """What the resume command does, less what it forgets."""
    saved = folder.files.get("state")
    if saved is None or "everything" in quirks.forget:
        return State()
    state, fresh = copy.deepcopy(saved), State()
    for name in quirks.forget:
        setattr(state, name, copy.deepcopy(getattr(fresh, name)))
    if quirks.round_to:
        state.params = {n: p.astype(quirks.round_to).astype("<f4") for n, p in state.params.items()}
    return state


def record_of(trajectory: str, number: int, kill: Fault | None, **changes: object) -> RunRecord:
    record = RunRecord(
        trajectory=trajectory,
        number=number,
        mode="run" if number == 1 else "resume",
        argv=("python", "train.py"),
        faults=(kill,) if kill else (),
        exit_code=137 if kill else 0,
        oom_killed=False,
        killed_by=kill.by if kill else None,
        error=None,
        settings={},
        volatile={},
        seconds=1.0,
    )
    return record.model_copy(update=changes)


def run_evidence(process: Process, record: RunRecord, *, torn: bytes = b"") -> RunEvidence:
    killed, name = record.exit_code != 0, f"{record.trajectory}/{record.number}"
    data = chain(process.ledger) + torn
    sidecar = b"".join(canonical(line) + b"\n" for line in process.sidecar)
    return RunEvidence(
        record=record,
        ledger=parse_ledger(data, name, killed=killed),
        ledger_bytes=data,
        events=parse_events(chain(process.events), name, killed=killed),
        sidecar=parse_sidecar(sidecar, name, killed=killed),
    )


def files_of(folder: Files, volatile: tuple[str, ...] = ("seconds",)) -> tuple[FileEvidence, ...]:
    files = []
    for path, data in sorted(folder.files.items()):
        if isinstance(data, bytes):
            role = "checkpoint" if path.startswith("checkpoints/") else "output"
            try:
                content, problem = read_content(path, data, volatile), None
            except Exception as error:
                content, problem = None, str(error)
            digest = Digest("sha256", hashlib.sha256(data).hexdigest())
            files.append(
                FileEvidence(
                    path=path, role=role, size_bytes=len(data), sha256=digest, content=content, problem=problem
                )
            )
    return tuple(files)


def start_state(quirks: Quirks) -> State:
    state = State()
    if "weights" in quirks.unseeded:
        state.params = {n: p + np.float32(0.5) for n, p in state.params.items()}
    if "rng" in quirks.unseeded:
        state.rng = 99
    if "python" in quirks.unseeded:
        state.python = 6
    if "frozen" in quirks.unseeded:
        state.frozen = {"base": state.frozen["base"] + np.float32(1)}
    if "data" in quirks.unseeded:
        state.batch = 3
    return state


def straight(
    name: str = "straight", quirks: Quirks = Quirks(), kill: Fault | None = None, **changes: object
) -> TrajectoryEvidence:
    folder, process = Files(), None
    process = Process(folder, quirks)
    process.train(start_state(quirks), kill)
    run = run_evidence(process, record_of(name, 1, kill, **changes))
    return TrajectoryEvidence(name=name, runs=(run,), files=files_of(folder))


def resumed(
    kills: tuple[Fault, ...] = (KILL,),
    quirks: Quirks = Quirks(),
    first: Quirks = Quirks(),
    last_kill: Fault | None = None,
    name: str = "resumed",
    **changes: object,
) -> TrajectoryEvidence:
    """Run, die at every kill, resume each time with `quirks`; `changes` go into the last run's record."""
    folder, runs, ledgers = Files(), [], []
    for number, kill in enumerate([*kills, last_kill], start=1):
        now = first if number == 1 else quirks
        process = Process(folder, now, list(ledgers))
        process.train(start_state(first) if number == 1 else restore(folder, now), kill)
        ledgers.insert(0, process.ledger)
        more = changes if number > len(kills) else {}
        runs.append(run_evidence(process, record_of(name, number, kill, **more), torn=b'{"kind":"st' if kill else b""))
    return TrajectoryEvidence(name=name, runs=tuple(runs), files=files_of(folder))


def good_controls(*without: str) -> tuple[ControlResult, ...]:
    names = ("tensor_bit", "ledger_digit", "weights_moved", "flip_param", "flip_optim")
    return tuple(ControlResult(name=n, detected=True, detail="seen") for n in names if n not in without)


def case(**changes: object) -> VerdictInputs:
    """A case that is certified; tests change one thing."""
    whole = VerdictInputs(
        experiment="tiny",
        run_id="r",
        commit="c" * 40,
        dirty=False,
        runner="docker",
        steps=STEPS,
        straight=straight(),
        rerun=straight("rerun"),
        resumed=resumed(),
        interruptions=(KILL,),
        controls=good_controls(),
        rebuild=Rebuild(image_ids=(IMAGE, IMAGE), source="two builds from nothing"),
    )
    return replace(whole, **changes)


_UNSEEDED = Finding(rule="REP101", certainty="proven", place=Place(path="a.py", line=1), message="random is not seeded")
UNSEEDED_BASIS = Basis(static=StaticReview(findings=(_UNSEEDED,)))
UNSEEDED = reviewer_of(UNSEEDED_BASIS)
"""A review that forbids the run."""
