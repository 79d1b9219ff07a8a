"""The records of a run: turns digests under way into lines of the ledger, the sidecar and the progress log."""

import math
import os
from typing import Any

from _harness_recorder import digest, streams
from _harness_recorder.ledger import RunFolder, canonical

STEADY_WORDS = 1 << 16  # buffers from this size on are hashed again only when torch's version counter moved


class Records:
    """Writes what a session gathered. Order in a step: sidecar, ledger, progress."""

    def __init__(self, run: RunFolder, torch: Any) -> None:
        self.run, self.torch = run, torch
        self._steady: dict[str, tuple[tuple, digest.Entry]] = {}

    def whole(self, kind: str, step: int, collect: streams.Collector, **extra: Any) -> None:
        """Write the complete state of the process, frozen weights included: a `start` or an `end` record."""
        items = {
            "rng": collect.rng(),
            "lr": collect.lr(),
            "optim": collect.optim(),
            "param": collect.params(),
            "buffer": collect.buffer_tensors(),
            "frozen": collect.frozen(),
        }
        entries = {stream: digest.launch(named).result() for stream, named in items.items()}
        roots = self._write_sidecar(step, kind, entries)
        counts = {stream: len(named) for stream, named in entries.items()}
        self.run.ledger.add({"kind": kind, "step": step, "streams": roots, "counts": counts, **extra})

    def after_update(self, collect: streams.Collector) -> dict:
        """Start hashing what an update leaves behind, and note the learning rates that it applied."""
        buffers = collect.buffer_tensors()
        steady = {}
        for name, tensor in list(buffers.items()):
            if tensor.numel() * tensor.element_size() >= 4 * STEADY_WORDS and not tensor.is_inference():
                key = (tensor.data_ptr(), tensor._version, tuple(tensor.shape), tensor.stride(), tensor.dtype)
                known = self._steady.get(name)
                if known is None or known[0] != key:
                    known = self._steady[name] = (key, digest.launch({name: tensor}).result()[name])
                steady[name] = known[1]
                del buffers[name]
        return {
            "optim": digest.launch(collect.optim()),
            "param": digest.launch(collect.params()),
            "buffer": digest.launch(buffers),
            "lr": digest.launch(collect.lr()),
            "rates": collect.rates(),
            "steady": steady,
        }

    def step(self, number: int, step: Any, after: dict, lap: tuple[float, float]) -> None:
        """Write a step's records.

        Args:
            number: the step's number in the whole training.
            step: the `session.OpenStep` that is over.
            after: what `after_update` returned.
            lap: seconds since the previous record, and how many of them were the recorder's.
        """
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
        entries["buffer"] |= after["steady"]
        roots = self._write_sidecar(number, "step", entries)
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
            }
        )
        self._write_progress(number, values, after["rates"], lap)

    def evaluation(self, step: int, evals: list[tuple[Any, Any]]) -> None:
        """Write the evaluation forwards that ran after `step`: what they were given, and the losses they returned."""
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


def _rss_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
