"""The records of a run: turns digests under way into lines of the ledger, the sidecar and the progress log."""

import math
import os
from typing import Any

from _harness_recorder import digest, streams
from _harness_recorder.ledger import RunFolder, canonical

MOVING = ("param", "optim", "buffer", "frozen")


class Records:
    """Writes what a session gathered. Order in a step: sidecar, ledger, progress."""

    def __init__(self, run: RunFolder, torch: Any) -> None:
        self.run, self.torch = run, torch
        self.known: dict[str, digest.Pending] = {}  # each stream of the state as it was last hashed
        self._marks: dict[str, list] = {}  # what would be another had it moved since
        self._start: tuple[int, dict, dict] | None = None  # not written yet: something may still be loaded

    def whole(self, kind: str, step: int, collect: streams.Collector, **extra: Any) -> None:
        """Write the complete state of the process, frozen weights included: an `end`, or a `start` when it is sure."""
        items = {
            "rng": collect.rng(),
            "lr": collect.lr(),
            "optim": collect.optim(),
            "param": collect.params(),
            "buffer": collect.buffer_tensors(),
            "frozen": collect.frozen(),
        }
        pending = {stream: digest.launch(named) for stream, named in items.items()}
        for stream in MOVING:
            self.known[stream] = pending[stream]
            self._mark(stream, items[stream])
        entries = {stream: found.result() for stream, found in pending.items()}
        if kind == "start":
            self._start = (step, entries, extra)
        else:
            self.write_start()
            self._write_whole(kind, step, entries, extra)

    @property
    def is_start_written(self) -> bool:
        return self._start is None

    def write_start(self) -> None:
        """Write the start, if it is not written yet."""
        if self._start is not None:
            start, self._start = self._start, None
            self._write_whole("start", *start)

    def drop_start(self) -> None:
        """Forget a start that was none: the process loads something before it trains."""
        self._start = None

    def _write_whole(self, kind: str, step: int, entries: dict[str, dict[str, digest.Entry]], extra: dict) -> None:
        roots = self._write_sidecar(step, kind, entries)
        counts = {stream: len(named) for stream, named in entries.items()}
        self.run.ledger.add({"kind": kind, "step": step, "streams": roots, "counts": counts, **extra})

    def _mark(self, stream: str, items: streams.Items) -> bool:
        """Say whether a stream may have moved since it was marked, and mark it as it is now.

        Of parameters nothing tells but their content: `p.data.clamp_()` moves no version counter of `p`.
        """
        if stream == "param":
            return True
        marks = [(name, value if isinstance(value, bytes) else _key(value)) for name, value in items.items()]
        is_other, self._marks[stream] = marks != self._marks.get(stream), marks
        return is_other

    def before_forward(self, collect: streams.Collector, is_thorough: bool) -> dict[str, digest.Pending]:
        """Start hashing what may have moved since the last update.

        Args:
            collect: knows what there is.
            is_thorough: whether everything is hashed: a checkpoint was written, so a resume may begin here.
        """
        items = {
            "param": collect.params(),
            "optim": collect.optim(),
            "buffer": collect.buffer_tensors(),
            "frozen": collect.frozen(),
        }
        return {s: digest.launch(named) for s, named in items.items() if self._mark(s, named) or is_thorough}

    def moved_roots(self, collect: streams.Collector) -> dict[str, str]:
        """Return the roots of parameters and optimizer state where these moved since the last record, else nothing."""
        now = {"param": digest.launch(collect.params()), "optim": digest.launch(collect.optim())}
        if not any(_has_moved(self.known[stream], pending) for stream, pending in now.items()):
            return {}
        return {stream: digest.root(pending.result()) for stream, pending in now.items()}

    def after_update(self, collect: streams.Collector) -> dict:
        """Start hashing what an update leaves behind, and note the learning rates that it applied."""
        items = {"optim": collect.optim(), "param": collect.params(), "buffer": collect.buffer_tensors()}
        for stream, named in items.items():
            self._mark(stream, named)
        after: dict = {stream: digest.launch(named) for stream, named in items.items()}
        return after | {"lr": digest.launch(collect.lr()), "rates": collect.rates()}

    def step(self, number: int, step: Any, after: dict, lap: tuple[float, float]) -> None:
        """Write a step's records.

        Args:
            number: the step's number in the whole training.
            step: the `session.OpenStep` that is over.
            after: what `after_update` returned.
            lap: seconds since the previous record, and how many of them were the recorder's.
        """
        self.write_start()
        entries: dict[str, dict[str, digest.Entry]] = {"data": {}, "grad": {}, "loss": {}}
        for micro, pending in step.data:
            entries["data"] |= {f"{micro}.{name}": entry for name, entry in pending.result().items()}
        for _, pending in step.grads:
            entries["grad"] |= pending.result()
        losses = {f"{i}.{micro}": loss for i, (micro, loss) in enumerate(step.losses, 1)}
        entries["loss"] = digest.launch(losses).result()
        entries = {stream: named for stream, named in entries.items() if named}
        if step.rng is not None:
            entries["rng"] = step.rng.result()
        entries |= {stream: after[stream].result() for stream in ("lr", "optim", "param", "buffer")}
        moved = {s: pending.result() for s, pending in step.before.items() if _has_moved(self.known[s], pending)}
        before = self._write_sidecar(number, "before", moved)
        self.known |= step.before | {stream: after[stream] for stream in ("param", "optim", "buffer")}
        roots = self._write_sidecar(number, "step", entries)
        within = {str(micro): digest.root(pending.result()) for micro, pending in step.rng_within}
        values = [float(loss) for _, loss in step.losses if loss.numel() == 1]
        self.run.ledger.add(
            {
                "kind": "step",
                "step": number,
                "micro_batches": step.num_micro_batches,
                "skipped": step.is_skipped,
                "loss": [value.hex() for value in values],
                "lr": [rate.hex() for rate in after["rates"]],
                "streams": roots,
                **({"before": before} if before else {}),
                **({"rng_within": within} if within else {}),
            }
        )
        self._write_progress(number, values, after["rates"], lap)

    def evaluation(self, step: int, evals: list[tuple[Any, Any]]) -> None:
        """Write the evaluation forwards that ran after `step`: what they were given, and the losses they returned."""
        self.write_start()
        entries: dict[str, digest.Entry] = {}
        for number, (pending, _) in enumerate(evals, 1):
            entries |= {f"{number}.{name}": entry for name, entry in pending.result().items()}
        losses = [float(loss).hex() for _, loss in evals if loss is not None]
        self.run.ledger.add({"kind": "eval", "step": step, "loss": losses, "streams": {"eval": digest.root(entries)}})

    def _write_sidecar(self, step: int, at: str, entries: dict[str, dict[str, digest.Entry]]) -> dict[str, str]:
        for stream, named in entries.items():
            self.run.sidecar(step, at, stream, named)
        return {stream: digest.root(named) for stream, named in entries.items()}

    def _write_progress(self, number: int, losses: list[float], rates: list[float], lap: tuple[float, float]) -> None:
        loss = sum(losses) if losses else math.nan
        cuda = self.torch.cuda
        self.run.progress.append(
            canonical(
                {
                    "step": number,
                    "loss": loss if math.isfinite(loss) else None,
                    "lr": rates[0] if rates else None,
                    "seconds": round(lap[0], 6),
                    "recorder_seconds": round(lap[1], 6),
                    "rss_bytes": _rss_bytes(),
                    "vram_bytes": cuda.max_memory_reserved() if cuda.is_initialized() else None,
                }
            )
        )


def _has_moved(known: digest.Pending, now: digest.Pending) -> bool:
    """Say whether a tensor is another one than it was; one that was not known yet has not moved."""
    if now.equals(known):
        return False
    entries = now.result()
    return any(entries.get(name) != entry for name, entry in known.result().items())


def _key(tensor: Any) -> tuple:
    version = object() if tensor.is_inference() else tensor._version  # of the first nothing tells but its content
    return tensor.data_ptr(), version, tensor.shape, tensor.stride(), tensor.dtype


def _rss_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
