"""A process's recording from its start to its end, but for its steps (`steps`): state, events, writes, faults.

The hooks call in here; every entry point is guarded: an error of the recorder's own ends the recording with an event
and leaves the training alone.
"""

import functools
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from _harness_recorder import faults as fault_points
from _harness_recorder import ledger, numbering, variation

MAX_NAMES = 20
MAX_SEEDS = 200  # a data set that seeds for each example says no more with each


def guarded(method: Callable) -> Callable:
    """Make a method do nothing when not recording, and make its errors end the recording, not the training.

    Threads take turns: one may write a checkpoint while another trains, and neither may be missed.
    """

    @functools.wraps(method)
    def guard(self: "Session", *args: Any, **kwargs: Any) -> Any:
        if self.is_busy:
            return None
        with self.turn:
            if not self.is_active:
                return None
            self.entered_at, self.busy_thread = time.perf_counter(), threading.get_ident()
            result = None
            try:
                result = method(self, *args, **kwargs)
            except Exception as error:
                self.fail(error)
            finally:
                self.busy_thread = 0
                self.own_seconds += time.perf_counter() - self.entered_at
        if self.signals:
            self._send_signals()
        return result

    return guard


class Session:
    """One process's recording. Nothing is written before the process trains, saves or ends."""

    def __init__(self, run: ledger.RunFolder, faults: list[dict]) -> None:
        self.run, self.faults = run, faults
        self.is_active, self.is_started = True, False
        self.is_restoring = self.is_loading = False
        self.turn, self.busy_thread = threading.Lock(), 0
        self.saving_threads: set[int] = set()
        self.training_thread = 0
        self.completed = 0
        self.pace = variation.Pace(None)
        self.evals: list[tuple[Any, Any]] = []
        self.own_seconds = 0.0
        self.last_record_at = self.entered_at = time.perf_counter()
        self.reported_not_seen: set[str] = set()
        self.num_seeds = 0
        self.is_child = _is_helper_process()
        self.read: list[dict] = []  # the files that were read before the training started
        self.is_saved = False  # since the last training forward
        self.is_written = False  # likewise, if only to memory: Lightning's checkpoints are
        self.writes: list[int] = []  # after how many steps each write began that is over
        self.signals: list[dict] = []  # faults whose signals are due

    @property
    def is_busy(self) -> bool:
        """Whether this thread is inside the recorder: what the recorder does itself is not recorded."""
        return self.busy_thread == threading.get_ident()

    # --- life cycle -------------------------------------------------------------------------------------------------

    def torch_imported(self, torch: Any) -> None:
        """Take note that torch is complete: from here on this process may train."""
        from _harness_recorder import digest, records, streams

        self.torch, self.digest, self.streams = torch, digest, streams
        self.collect, self.records = streams.Collector(), records.Records(self.run, torch)
        self.collect.baseline("python", streams.python_state())
        if "numpy.random" in sys.modules:
            self.collect.baseline("numpy", streams.numpy_state())

    def fail(self, error: BaseException) -> None:
        """Stop recording because of an error of the recorder's own, and say so if that is still possible."""
        self.is_active = False
        try:
            self._claim()
            self.run.event("recorder_error", type=type(error).__name__, message=str(error)[:500])
        except Exception as second:
            sys.stderr.write(f"recorder: stopped: {error!r}, and could not say so: {second!r}\n")

    @guarded
    def generator_states(self, module: str) -> dict[str, str]:
        """Return the digests of the states of the generators that a module's functions set."""
        of = {"torch": "torch", "random": "python", "numpy.random": "numpy", "torch.cuda": "cuda"}
        items = self.collect.rng() if hasattr(self, "collect") and self.num_seeds < MAX_SEEDS else {}
        items = {name: item for name, item in items.items() if name.partition(":")[0] == of.get(module)}
        return {name: entry.digest for name, entry in self.digest.launch(items).result().items()} if items else {}

    def generator_set(self, kind: str, function: str, value: Any, before: dict[str, str] | None) -> None:
        """Note that a global generator was seeded or set, and its state then and before."""
        states = self.generator_states(function.rpartition(".")[0])
        self.num_seeds += 1
        if states is not None and self.num_seeds <= MAX_SEEDS:
            more = {"before": before} if before else {}
            step = self.completed + self.is_started
            self.event(kind, {"function": function, "value": value, "states": states, "step": step, **more})

    @guarded
    def event(self, kind: str, fields: dict) -> None:
        """Record an event that needs nothing but its fields."""
        self.run.event(kind, **fields)

    @guarded
    def restored(self, function: str, source: Any, is_ok: bool) -> None:
        """Note the read of a checkpoint or of weights from a file."""
        place = self.run.place(source)
        self.run.event("restore", function=function, ok=is_ok, **place)
        if is_ok and not (self.is_started and self.records.is_start_written):
            self.read.append(place)

    @guarded
    def moved(self, source: Any, target: Any) -> None:
        """Note that a file or folder below the output has another name now, or is there twice."""
        if isinstance(source, str | bytes | os.PathLike) and isinstance(target, str | bytes | os.PathLike):
            place = self.run.place(target)
            if not os.path.isabs(str(place["path"])):
                self.run.event("move", source=self.run.relative(os.fsdecode(source)), **place)

    @guarded
    def optimizer_made(self, optimizer: Any) -> None:
        """Note a new optimizer; a forward before it and without a backward was a trial."""
        self._not_started_yet()
        self.run.event("optimizer", groups=len(optimizer.param_groups), **{"class": type(optimizer).__name__})

    @guarded
    def module_built(self, module: Any, child: Any) -> None:
        """Note a module that got a parameter or a child."""
        self.collect.add_built(module, child)

    @guarded
    def state_loaded(self, what: str, owner: Any, is_ok: bool, result: Any) -> None:
        """Note a `load_state_dict`, and what a module says it did not load; parameters may be other objects now."""
        names = {key: list(getattr(result, f"{key}_keys", ())) for key in ("missing", "unexpected")}
        not_loaded = {key: [len(found), *found[:MAX_NAMES]] for key, found in names.items() if found}
        self.run.event("load_state", what=what, ok=is_ok, **{"class": type(owner).__name__}, **not_loaded)
        if is_ok and (what == "optimizer" or (what == "module" and self.collect.holds(owner))):
            self._not_started_yet()
        self.is_saved = True
        if what == "module" and self.is_started:
            self.collect.refresh()

    @guarded
    def generator_state(self) -> Any:
        """Return the state of torch's global generator on the CPU."""
        return self.torch.default_generator.get_state()

    @guarded
    def loader_made(self, before: Any) -> None:
        """Note that a loader's constructor moved the generator, if its unused seed is all that was drawn in it."""
        after = self.torch.default_generator.get_state()
        generator = self.torch.Generator()
        generator.set_state(before)
        self.torch.empty((), dtype=self.torch.int64).random_(generator=generator)
        if self.torch.equal(generator.get_state(), after):
            digests = self.digest.launch({"before": before, "after": after}).result()
            self.run.event("unused_seed", generator="torch", **{name: e.digest for name, e in digests.items()})

    def forked(self) -> None:
        """Begin anew in a forked child: it may be the one that trains. Its parent's records stay its parent's."""
        is_active, folder = self.is_active, ledger.RunFolder(str(self.run.path))
        folder.waiting = list(self.run.waiting)
        vars(self).update(vars(type(self)(folder, [] if self.is_started else self.faults)))
        self.is_active, self.is_child = is_active, True
        if hasattr(self, "torch"):
            self.records = type(self.records)(self.run, self.torch)

    @guarded
    def ended(self, status: int = 0) -> None:
        """Write the end at a normal exit, or what ended the process; what never trained says so if nobody else did."""
        failed = getattr(sys, "last_type", None)
        reason = failed.__name__ if failed is not None else f"exit status {status}" if status else None
        if reason is not None:
            self.run.event("exception", type=reason)
        if not self.run.slot:
            if self.is_child or self.run.is_claimed_by_anybody():
                return
            self._claim("other")
        if self.is_started and reason is None:
            self._close_round()
            self._flush_evals()
            self.records.whole("end", self.completed, self.collect)
        self.run.event("exit")
        self.is_active = False

    def _claim(self, role: str = "") -> None:
        if self.run.slot:
            return
        versions = {"python": sys.version.split()[0]}
        for name in ("torch", "numpy", "transformers", "peft", "accelerate", "safetensors", "jax", "tensorflow"):
            if name in sys.modules:
                versions[name] = str(getattr(sys.modules[name], "__version__", "unknown"))
        process = {"kind": "process", "argv": list(getattr(sys, "argv", [])), "versions": versions, "pid": os.getpid()}
        if hasattr(self, "torch"):
            process |= {"threads": self.torch.get_num_threads(), "digest": self.digest.arithmetic()}
        rank, self.run.num_ranks = rank_of(getattr(self, "torch", None))
        if self.run.num_ranks > 1:
            process |= {"rank": rank, "num_ranks": self.run.num_ranks}
            self.faults = [fault for fault in self.faults if fault.get("rank", rank) == rank]
        self.run.waiting.insert(0, process)
        self.run.claim(role or (f"rank{rank}" if rank else ""))

    def _start(self, module: Any) -> None:
        self._claim()
        if self.run.num_ranks > 1:
            self._say_how_distributed(module)
        self.collect.add_first(module)
        param = self.digest.root(self.digest.launch(self.collect.params()).result())
        optim = self.digest.root(self.digest.launch(self.collect.optim()).result())
        earlier, counter = self._earlier(), self.collect.optimizer_step()
        self.completed, source = earlier.find(param, optim, self._steps_read(earlier), counter)
        for fault in self.faults:
            if fault["kind"] == "flip_optim":
                moments = self.collect.moments()
                self._flip(fault, moments, numbering.moved_names(earlier, self.completed, "optim"))
        self._report_not_seen()
        extra = {"schema": 1, "step_source": source, "optimizer_step": counter, "digest": self.digest.ALGORITHM}
        self.records.whole("start", self.completed, self.collect, **extra)
        self.is_started, self.is_saved = True, False
        self.training_thread = threading.get_ident()
        self.last_record_at = time.perf_counter()

    def _say_how_distributed(self, module: Any) -> None:
        """Say whether every rank has all parameters and they are kept equal, or each rank a part of them."""
        names = {base.__name__ for base in type(module).__mro__}
        parameters = [] if module is None else module.parameters()
        is_sharded = any(hasattr(p, "_local_tensor") for p in parameters) or "FullyShardedDataParallel" in names
        self.run.event("ranks", is_replicated="DistributedDataParallel" in names, is_sharded=is_sharded)

    def _earlier(self) -> numbering.Earlier:
        return numbering.Earlier(self.run.path, self.run.number)

    def _steps_read(self, earlier: numbering.Earlier) -> list[int]:
        """Return after which steps the files were written that this process has read so far."""
        return [step for place in self.read if (step := earlier.step_of(place)) is not None]

    def _not_started_yet(self) -> None:
        """Take back a start: a forward that a load follows before any backward was no training (a trial of shapes)."""

    def _close_round(self) -> None:
        """Close a step that waits for further optimizers: there will be none."""

    def _flush_evals(self) -> None:
        if self.is_started and self.evals:
            self.records.evaluation(self.completed, self.evals)
            self.evals = []

    def _report_not_seen(self) -> None:
        new = self.collect.not_seen - self.reported_not_seen
        if new:
            self.reported_not_seen |= new
            self.run.event("not_seen", names=sorted(new)[:100])

    def _faults(self, kind: str, step: int) -> list[dict]:
        return [fault for fault in self.faults if fault["kind"] == kind and fault["step"] == step]

    def _flip(self, fault: dict, moments: dict, moved: set[str], within_step: bool = False) -> None:
        """Flip a bit of a moment, or of a parameter where there is none; rather of one of those that moved.

        `within_step`: other optimizers have still to step, so what the step computes from now on may show it.
        """
        tensors = moments or self.collect.params()
        if not tensors:
            self.run.event("not_flipped", reason="there is no parameter and no optimizer state to change a bit in")
            return
        name = min(tensors.keys() & moved or tensors)
        fault_points.flip_bit(self.torch, tensors[name], is_moment=bool(moments))
        self.run.event("fault", fault=fault, waiting=False, tensor=name, within_step=within_step)

    def _send_signals(self) -> None:
        """Send what is due once the training's thread leaves the recorder: the training may save or raise in answer."""
        if self.is_active and threading.get_ident() == self.training_thread and not self.saving_threads:
            signals, self.signals = self.signals, []
            for fault in signals:
                fault_points.send(fault, self.event)

    # --- writes -----------------------------------------------------------------------------------------------------

    def write(self, destination: Any, write: Callable[[], Any], serialize: Callable[[], bytes] | None) -> Any:
        """Run a checkpoint's write between its events, with the faults that are due in it."""
        thread = threading.get_ident()
        if not self.is_active or self.is_busy or thread in self.saving_threads:
            return write()
        self.saving_threads.add(thread)
        self.is_written = True
        try:
            target = fault_points.Target(destination)
            if not target.path:
                return write()
            began = time.perf_counter()
            tearing = self._before_write(target)
            if tearing is not None:
                content = serialize() if serialize is not None else None
                fault_points.die_in_write(tearing, write, target, content, self.run.event)
            result = write()
            self._after_write(target, time.perf_counter() - began)
            return result
        finally:
            self.saving_threads.discard(thread)

    @guarded
    def _before_write(self, target: fault_points.Target) -> dict | None:
        if not hasattr(self, "torch"):
            return None
        extra = {}
        if not self._is_aside():
            self._close_round()
            self._flush_evals()
            if self.is_started:
                self.records.write_start()
                streams = self.records.moved_roots(self.collect)
                extra = {"streams": streams} if streams else {}
        self.run.event("save_begin", path=self.run.relative(target.path), step=self._step_saved(), **extra)
        for fault in self._due("before_write"):
            fault_points.die(fault, self.run.event)
        return next(iter(self._due("in_write")), None)

    @guarded
    def _after_write(self, target: fault_points.Target, seconds: float) -> None:
        place = self.run.place(target.path)
        self.run.event("save_end", step=self._step_saved(), seconds=round(seconds, 6), **place)
        self.is_saved = self.is_saved or not self._is_aside()
        for fault in self._due("after_write"):
            if target.file is not None:
                target.file.flush()
            fault_points.die(fault, self.run.event)
        self.writes.append(self.completed)

    def _is_aside(self) -> bool:
        """Say whether another thread trains meanwhile: what is alive is not what this one writes then."""
        return self.is_started and threading.get_ident() != self.training_thread

    def _step_saved(self) -> int:
        """Return the step that a checkpoint is of; one that is written before the training is of what was read."""
        if self.is_started:
            return self.completed
        return next(reversed(self._steps_read(self._earlier())), 0)

    def _due(self, kind: str) -> list[dict]:
        if not self.is_started:
            return []
        due = [fault for fault in self.faults if fault["kind"] == kind and fault["step"] <= self.completed]
        return [f for f in due if sum(step >= f["step"] for step in self.writes) == f.get("write", 1) - 1]


def rank_of(torch: Any) -> tuple[int, int]:
    """Return this process's rank in a distributed training, and the number of ranks."""
    distributed = getattr(torch, "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    rank, size = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    return (int(rank), int(size)) if rank.isdigit() and size.isdigit() and int(size) > 1 else (0, 1)


def _is_helper_process() -> bool:
    """Say whether multiprocessing started this process (a spawned DataLoader worker, a resource tracker)."""
    module = sys.modules.get("multiprocessing.process")
    return module is not None and module.parent_process() is not None
