"""Everything that makes two trainings draw and add up the same numbers: switches, seeds, generator states.

Sources for the switches: PyTorch's notes on reproducibility and on numerical accuracy,
https://docs.pytorch.org/docs/stable/notes/randomness.html and .../notes/numerical_accuracy.html
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from config import DeterminismConfig, PipelineError


def set_determinism(config: DeterminismConfig, device: str) -> None:
    """Set every switch that numerics depend on; call it before anything is computed.

    What has to be in the environment before Python starts (OMP_NUM_THREADS, PYTHONHASHSEED, the ISA caps,
    CUBLAS_WORKSPACE_CONFIG) cannot be set here: the experiment's `environment` does that.

    Raises:
        PipelineError: deterministic algorithms on CUDA without CUBLAS_WORKSPACE_CONFIG.
    """
    # A sum over n threads is n partial sums: another number of threads is another order of additions.
    torch.set_num_threads(config.threads)
    # Operators whose order of additions is left to chance (atomics in scatter and index backward, on CUDA) raise
    # an error, or are replaced where a deterministic version exists.
    torch.use_deterministic_algorithms(config.deterministic_algorithms, warn_only=False)
    # A kernel that reads memory it never wrote sees whatever was there: empty tensors are filled with NaN.
    torch.utils.deterministic.fill_uninitialized_memory = config.fill_uninitialized_memory
    # cuDNN's own nondeterministic algorithms (convolutions, recurrent networks).
    torch.backends.cudnn.deterministic = config.cudnn_deterministic
    # Benchmark mode picks a kernel by measured time, so the choice, and with it the rounding, varies.
    torch.backends.cudnn.benchmark = config.cudnn_benchmark
    # oneDNN's own nondeterministic algorithms, on a CPU.
    torch.backends.mkldnn.deterministic = config.mkldnn_deterministic
    # TF32 rounds the inputs of fp32 products to 10 bits of mantissa, if the GPU has it: say which one is meant. The
    # first line is for products, cuBLAS's (`allow_tf32`) and oneDNN's, the second for cuDNN.
    torch.set_float32_matmul_precision("high" if config.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = config.tf32
    # A product in fp16 or bf16 that is split into parts may add these in 16 bits: which parts, and so the rounding,
    # depends on the GPU and the shape. Sums stay in 32 bits, in cuBLAS and in plain attention.
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = config.reduced_precision_sums
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = config.reduced_precision_sums
    torch.backends.cuda.matmul.allow_fp16_accumulation = config.reduced_precision_sums
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(config.reduced_precision_sums)
    if device == "cuda" and config.deterministic_algorithms:
        if os.environ.get("CUBLAS_WORKSPACE_CONFIG") not in (":4096:8", ":16:8"):
            raise PipelineError(
                "CUBLAS_WORKSPACE_CONFIG is not set, so cuBLAS may pick its workspace, and its rounding, by chance",
                "set CUBLAS_WORKSPACE_CONFIG=:4096:8 in the experiment's environment",
            )
        # The memory-efficient attention's backward adds with atomics; flash and plain attention are left.
        torch.backends.cuda.enable_mem_efficient_sdp(False)
        torch.backends.cuda.enable_cudnn_sdp(False)


def require_hash_seed(config: DeterminismConfig) -> None:
    """Refuse a Python that hashes strings in another way in each process.

    The order of a set of strings then changes from run to run: peft keeps the target modules in one, and writes them
    into adapter_config.json in its order. Python reads the variable before any of our code runs.

    Raises:
        PipelineError: PYTHONHASHSEED is not set, or is "random".
    """
    is_read = not sys.flags.ignore_environment
    is_fixed = is_read and os.environ.get("PYTHONHASHSEED", "").isdigit()  # 0 switches the randomization off
    if config.fixed_hash_seed and not is_fixed:
        raise PipelineError(
            "PYTHONHASHSEED is not set, so Python orders sets of strings by chance",
            "set PYTHONHASHSEED=0 before Python starts (or determinism.fixed_hash_seed to false)",
        )


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, NumPy, torch on the CPU and on every CUDA device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)


def seed_worker(worker_id: int) -> None:
    """Seed a DataLoader worker's Python and NumPy from torch's seed of that worker (base seed + worker id)."""
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)


def rng_state() -> dict[str, Any]:
    """Return the state of every generator as tensors and plain values.

    `python`: [version, 625 integers, gauss]; `numpy`: [name, 624 integers, position, has_gauss, gauss];
    `torch`: uint8 [n]; `cuda`: one uint8 tensor for each device.
    """
    version, internal, gauss = random.getstate()
    numpy_state: Any = np.random.get_state()
    name, keys, position, has_gauss, cached = numpy_state
    return {
        "python": [version, list(internal), gauss],
        "numpy": [str(name), keys.tolist(), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_rng(state: dict[str, Any]) -> None:
    """Put every generator back into a state that `rng_state` returned.

    Raises:
        PipelineError: the state was taken with another number of CUDA devices.
    """
    num_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if len(state["cuda"]) != num_devices:
        raise PipelineError(
            f"the random state holds {len(state['cuda'])} CUDA devices, this machine has {num_devices}",
            "resume on the kind of machine the training was started on",
        )
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if num_devices:
        torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def untouched_rng() -> Iterator[None]:
    """Give the generators back as they were found: what happens inside cannot shift the training's draws."""
    state = rng_state()
    try:
        yield
    finally:
        restore_rng(state)
