"""How much GPU memory the training takes, and what each mitigation would give: measured on a GPU, else an estimate.

    python pipelines/lora/probe.py --config C.json --prepared DIR --output DIR [--inputs DIR]

Two optimizer steps are made on the longest micro-batch that the training will really see (of all epochs, under the
configured batching): the second step has the optimizer's moments, the second micro-batch of a window, where there
is one, the gradients of the first; no later one has more. Then comes the longest micro-batch of a validation. Written
is {output}/probe.json, whole or not at all:

    schema, device ("cuda" or "cpu"), gpu (its name, or null), budget_note, method
    variants    the configuration as it is, then with one thing changed: gradient checkpointing; half the micro-batch
                (the validation's too) and twice the accumulation; bf16
    in_force    mitigations that the configuration has already, so there is no variant of them
    left_out    the others of which there is no variant, with the reason

A variant has name, settings, is_estimate, tokens (of its longest micro-batch, padding included), peak_allocated_bytes,
peak_reserved_bytes, phases {forward, backward, optimizer, validation} with the same two, out_of_memory (if true, the
figures are what it had when it ran out) and, measured, context_bytes. Each variant trains in a process of its own:
what one leaves in the allocator, no other sees.

On a GPU the peaks are those of torch's allocator, reset before each phase: allocated is what tensors took, reserved
what the allocator took from the GPU for them. `context_bytes` is what was in use on the device beyond that at the end
(the CUDA context, libraries, other processes).

Without a GPU it is an estimate: the same steps run on the CPU, and the bytes of all tensors alive are counted. Every
operator's outputs are seen (a TorchDispatchMode), a storage counts once however many tensors look at it, from when it
is made to when the last of them is gone: parameters, gradients, moments, what the backward pass keeps, what is
computed again for it, the logits. Attention is computed by the plain operators, as on a GPU where the configuration
is deterministic and a micro-batch is padded or packed. Sizes are rounded up to 512 bytes, the CUDA allocator's block;
reserved is the peak rounded up to its 2 MiB segments, as if nothing were ever fragmented. A GPU needs more: its
kernels take workspaces, its allocator keeps gaps, and its context comes on top.

Exit codes: 0 written, even if a variant ran out of memory; 2 something to correct.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import multiprocessing
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from batching import EpochSampler
from config import EXIT_USAGE, Config, PipelineError, load_config
from data import Batch, PackedRows, PadTo, Pair, num_targets
from state import Training, build_training, validation_sampler
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from tracking import write_json
from train import loss_sum, update

AS_CONFIGURED = "as configured"
CHECKPOINTING = "gradient checkpointing"
HALF = "half the micro-batch, twice the accumulation"
BF16 = "bf16"
NUM_STEPS = 2
MAX_ATTEMPTS = 24  # a scaler that starts at 2^16 skips steps until its scale fits
BLOCK, SEGMENT = 512, 2 << 20  # the CUDA allocator's, bytes
METHOD = {
    "cuda": "measured: the peaks of torch's CUDA allocator, reset before each phase",
    "cpu": "estimated: the bytes of all tensors alive, storages counted once, in the same steps on the CPU",
}
NOTE = {
    "cuda": "hold peak_reserved_bytes against the budget; context_bytes comes on top, and no mitigation lowers it",
    "cpu": "no GPU was used: a GPU reserves more than this, and its context comes on top",
}


# ----------------------------------------------------------------------------- what could be changed
def variants(config: Config) -> tuple[dict[str, Config], list[str], dict[str, str]]:
    """Return the configurations to probe by name, the mitigations in force, and those left out with the reason."""
    settings = config.training
    found, in_force, left_out = {AS_CONFIGURED: config}, [], {}
    if settings.gradient_checkpointing:
        in_force.append(CHECKPOINTING)
    else:
        found[CHECKPOINTING] = _changed(config, gradient_checkpointing=True)
    if settings.micro_batch_size > 1:
        half = settings.micro_batch_size // 2
        accumulation = -(-settings.micro_batch_size * settings.accumulation // half)
        validated = max(1, settings.validation_batch_size // 2)
        found[HALF] = _changed(
            config, micro_batch_size=half, accumulation=accumulation, validation_batch_size=validated
        )
    elif settings.accumulation > 1:
        in_force.append(HALF)
    else:
        left_out[HALF] = "a micro-batch has one row, and a window one micro-batch"
    if settings.precision == "fp32":
        found[BF16] = _changed(config, precision="bf16")
    elif settings.precision == "bf16":
        in_force.append(BF16)
    else:
        left_out[BF16] = "fp16 takes as little"
    return found, in_force, left_out


def _changed(config: Config, **changes: Any) -> Config:
    return dataclasses.replace(config, training=dataclasses.replace(config.training, **changes))


# ----------------------------------------------------------------------------- the longest micro-batch
def longest_batch(pairs: list[Pair], sampler: EpochSampler, epochs: int, pad_token_id: int) -> Batch:
    """Return the micro-batch with the most tokens, padding included, of all epochs; of equals that of longer rows."""

    def length(row: int | tuple[int, ...]) -> int:
        return sum(len(pairs[index].input_ids) for index in (row if isinstance(row, tuple) else (row,)))

    def size(batch: list[Any]) -> tuple[int, int]:
        longest = max(map(length, batch))
        return len(batch) * longest, longest

    largest = max((max(sampler.batches(epoch), key=size) for epoch in range(epochs)), key=size)
    is_packed = sampler.batching == "packed"
    rows: Any = PackedRows(pairs) if is_packed else pairs
    return PadTo(pad_token_id, is_packed)([rows[row] for row in largest])


# ----------------------------------------------------------------------------- peaks
Peaks = dict[str, dict[str, int]]


class CudaMeter:
    """Peaks of torch's CUDA allocator in each phase, the highest of all its times."""

    is_estimate = False

    def __init__(self) -> None:
        self.phases: Peaks = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure what happens inside, also if it fails there."""
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        try:
            yield
            torch.cuda.synchronize()
        finally:
            _raise_peaks(self.phases, name, torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved())

    def rest(self) -> dict[str, Any]:
        """Return what only a GPU has."""
        free, total = torch.cuda.mem_get_info()
        context = max(0, total - free - torch.cuda.memory_reserved())
        return {"context_bytes": context, "gpu": torch.cuda.get_device_name()}


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of all tensors alive, and their peak in each phase."""

    is_estimate = True

    def __init__(self, model: torch.nn.Module) -> None:
        """Start with what the model has."""
        super().__init__()
        self.phases: Peaks = {}
        self.live = self.peak = 0
        self._sizes: dict[int, int] = {}  # of the storages alive, by address
        gc.freeze()  # what the imports left is not looked through at each collection
        for tensor in (*model.parameters(), *model.buffers()):
            self._watch(tensor)

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, torch.Tensor):
                self._watch(value)
        return result

    def _watch(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address in self._sizes:
            return
        size = -(-storage.nbytes() // BLOCK) * BLOCK
        self._sizes[address] = size
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, address).atexit = False

    def _forget(self, address: int) -> None:
        self.live -= self._sizes.pop(address)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens inside."""
        gc.collect()
        self.peak = self.live
        attention = sdpa_kernel(SDPBackend.MATH)
        try:
            with attention, self:
                yield
        finally:
            _raise_peaks(self.phases, name, self.peak, -(-self.peak // SEGMENT) * SEGMENT)

    def rest(self) -> dict[str, Any]:
        """Return nothing: there is no GPU."""
        return {"gpu": None}


def _raise_peaks(phases: Peaks, name: str, allocated: int, reserved: int) -> None:
    before = phases.get(name, {})
    now = {"peak_allocated_bytes": allocated, "peak_reserved_bytes": reserved}
    phases[name] = {key: max(value, before.get(key, 0)) for key, value in now.items()}


# ----------------------------------------------------------------------------- one variant
def measure(config: Config, prepared: Path) -> dict[str, Any]:
    """Make the steps of one variant in this process; return its entry, and the GPU's name as `gpu`."""
    training = build_training(config, prepared)
    settings, pad = config.training, training.model.config.pad_token_id
    batch = longest_batch(training.train_pairs, training.sampler, settings.epochs, pad)
    validated = longest_batch(training.validation_pairs, validation_sampler(training), 1, pad)
    meter = CudaMeter() if training.device.type == "cuda" else LiveTensors(training.model)
    try:
        _steps(training, meter, [batch] * min(2, settings.accumulation), validated)
        is_out_of_memory = False
    except torch.OutOfMemoryError:
        is_out_of_memory = True
    peaks = {key: max(peak[key] for peak in meter.phases.values()) for key in meter.phases["forward"]}
    return {
        "settings": {
            "gradient_checkpointing": settings.gradient_checkpointing,
            "micro_batch_size": settings.micro_batch_size,
            "accumulation": settings.accumulation,
            "validation_batch_size": settings.validation_batch_size,
            "precision": settings.precision,
        },
        "phases": meter.phases,
        **peaks,
        "is_estimate": meter.is_estimate,
        "tokens": batch["input_ids"].numel(),
        "out_of_memory": is_out_of_memory,
        **meter.rest(),
    }


def _steps(training: Training, meter: CudaMeter | LiveTensors, window: list[Batch], validated: Batch) -> None:
    training.model.train()
    num_tokens = sum(map(num_targets, window))
    num_done = 0
    for _ in range(MAX_ATTEMPTS):
        for batch in window:
            with meter.phase("forward"):
                share = training.scaler.scale(loss_sum(training, batch) / num_tokens)
            with meter.phase("backward"):
                share.backward()
            del share
        with meter.phase("optimizer"):
            num_done += not update(training)["skipped"]
        if num_done == NUM_STEPS:
            break
    training.model.eval()
    with meter.phase("validation"), torch.no_grad():
        loss_sum(training, validated)


# ----------------------------------------------------------------------------- all of them
def probe(config: Config, prepared: Path, output: Path, start: str | None = None) -> None:
    """Measure every variant and write probe.json.

    `start` is how multiprocessing starts a variant's process. By default it is a fresh one for a GPU, for CUDA does
    not survive a fork, and else a fork, which has all its imports done.

    Raises:
        PipelineError: the configuration as it is could not be tried.
    """
    # An estimate is better than nothing where the training would need a GPU that is not here.
    device = "cuda" if config.training.device == "cuda" and torch.cuda.is_available() else "cpu"
    start = start or {"cuda": "spawn", "cpu": "fork"}[device]
    found, in_force, left_out = variants(_changed(config, device=device))
    entries = []
    for name, variant in found.items():
        entry, problem, remedy = _in_a_process(variant, prepared, start)
        if entry is None and name == AS_CONFIGURED:
            raise PipelineError(f"the training as configured could not be tried: {problem}", remedy)
        if entry is None:
            left_out[name] = problem
            continue
        entries.append({"name": name, **entry})
        how = "ran out of memory at" if entry["out_of_memory"] else "estimated" if entry["is_estimate"] else "measured"
        print(f"{name}: {how} {entry['peak_reserved_bytes'] / 2**30:.2f} GiB reserved", flush=True)
    gpu = [entry.pop("gpu") for entry in entries][-1]
    document = {
        "schema": 1,
        "device": device,
        "gpu": gpu,
        "method": METHOD[device],
        "budget_note": NOTE[device],
        "variants": entries,
        "in_force": in_force,
        "left_out": left_out,
    }
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "probe.json", document)


def _in_a_process(config: Config, prepared: Path, start: str) -> tuple[dict[str, Any] | None, str, str]:
    """Measure one variant; return its entry, or None with the problem and its remedy."""
    context: Any = multiprocessing.get_context(start)
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        process = context.Process(target=_measure_into, args=(answer, config, prepared))
        process.start()
        process.join()
        if answer.is_file():
            found = json.loads(answer.read_text(encoding="utf-8"))
            return found.get("entry"), found.get("problem", ""), found.get("remedy", "")
    return None, f"its process ended with {process.exitcode}", "see what it said; -9 is often too little memory"


def _measure_into(answer: Path, config: Config, prepared: Path) -> None:
    try:
        found: dict[str, Any] = {"entry": measure(config, prepared)}
    except PipelineError as error:
        found = {"problem": error.problem, "remedy": error.remedy}
    write_json(answer, found)


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, probe, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="the configuration, a JSON file")
    parser.add_argument("--inputs", type=Path, help="the inputs; what is probed was prepared from them")
    parser.add_argument("--prepared", type=Path, required=True, help="the folder that prepare.py wrote")
    parser.add_argument("--output", type=Path, required=True, help="where to write probe.json")
    options = parser.parse_args(arguments)
    try:
        probe(load_config(options.config), options.prepared, options.output)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main())
