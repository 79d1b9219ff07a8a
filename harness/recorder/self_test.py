"""Whether the torch of this machine computes the golden digests on a device: self_test.py cpu|cuda < digests.json

On a GPU other code computes the digest than on a CPU. With `cpu` that same code runs there: neither the machine code
nor numpy is used. Printed is one JSON object: torch's version, the device, `differing` (way and name of each digest
that is not the golden one, or not the CPU's), their number, and gigabytes a second by what was hashed.
"""

import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

NUM_ROUNDS = 3


def load_package() -> None:
    """Make `_harness_recorder` importable, as sitecustomize does in a training."""
    folder = Path(__file__).parent
    spec = importlib.util.spec_from_file_location(
        "_harness_recorder", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None  # as for every file that ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules["_harness_recorder"] = module
    spec.loader.exec_module(module)


def tensor_of(vector: dict[str, Any]) -> torch.Tensor:
    """The tensor that a golden vector describes."""
    if "hex" in vector:
        content = bytearray.fromhex(vector["hex"])
    else:
        words = torch.arange(vector["num_words"]) * 2654435761 % (1 << 32)
        content = bytearray(words.to(torch.uint32).numpy().tobytes())
    dtype = getattr(torch, vector["dtype"])
    flat = torch.frombuffer(content, dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)
    return flat.view(dtype).reshape(vector["shape"]) if content else torch.empty(vector["shape"], dtype=dtype)


def spread(tensor: torch.Tensor) -> torch.Tensor:
    """The same elements at every second place of a larger, transposed tensor."""
    shape = (*tensor.shape[::-1], 2)
    big = torch.full(shape, 1, dtype=torch.float32, device=tensor.device).to(tensor.dtype)
    view = big[..., 1].permute(tuple(range(tensor.dim()))[::-1])
    view.copy_(tensor)
    return view


def main(device: str) -> None:
    load_package()
    from _harness_recorder import digest

    vectors = json.load(sys.stdin)["vectors"]
    golden = {vector["name"]: vector["ml128"] for vector in vectors}
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, list[tuple[int, ...]]] = {"64 MiB": [(1 << 24,)], "400 of 18 KiB": [(68, 68)] * 400}
    random = {name: [torch.randn(shape, generator=generator) for shape in of] for name, of in shapes.items()}

    def digests(tensors: Any) -> dict[str, str]:
        return {name: entry.digest for name, entry in digest.launch(dict(tensors)).result().items()}

    known = {name: digests((str(n), tensor) for n, tensor in enumerate(of)) for name, of in random.items()}
    if device == "cpu":
        digest.machine_code = digest.numpy = None  # type: ignore[assignment, attr-defined]
    tensors = {vector["name"]: tensor_of(vector).to(device) for vector in vectors}
    alone = {name: digests({name: tensor}.items())[name] for name, tensor in tensors.items()}
    spaced = digests((name, spread(tensor)) for name, tensor in tensors.items())
    found = {"together": digests(tensors.items()), "alone": alone, "spread": spaced}
    differing = [f"{way}: {name}" for way, of in found.items() for name in golden if of[name] != golden[name]]
    speeds = {}
    for name, of in random.items():
        there = {str(n): tensor.to(device) for n, tensor in enumerate(of)}
        differing += [f"{name}: {n}" for n, value in digests(there.items()).items() if value != known[name][n]]
        began = time.perf_counter()
        for _ in range(NUM_ROUNDS):
            digests(there.items())  # brings the sums over, so the device has finished
        size = NUM_ROUNDS * sum(tensor.nbytes for tensor in of)
        speeds[name] = round(size / (time.perf_counter() - began) / 1e9, 2)
    answer = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "num_digests": sum(map(len, (*found.values(), *known.values()))),
        "differing": differing,
        "gb_per_s": speeds,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1])
