"""Print what the recorder's digest gives for the golden vectors on standard input, computed in every way it has.

digest_probe.py LIBRARY: the machine code to use.
"""

import importlib.util
import json
import math
import random
import sys
from pathlib import Path

import torch

RECORDER = Path(__file__).parents[4] / "harness" / "recorder"


def load_package() -> None:
    spec = importlib.util.spec_from_file_location(
        "_harness_recorder", RECORDER / "__init__.py", submodule_search_locations=[str(RECORDER)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["_harness_recorder"] = module
    spec.loader.exec_module(module)


def tensor_of(vector: dict) -> torch.Tensor:
    if "hex" in vector:
        content = bytearray.fromhex(vector["hex"])
    else:
        words = torch.arange(vector["num_words"]) * 2654435761 % (1 << 32)
        content = bytearray(words.to(torch.uint32).numpy().tobytes())
    dtype = getattr(torch, vector["dtype"])
    flat = torch.frombuffer(content, dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)
    return flat.view(dtype).reshape(vector["shape"]) if content else torch.empty(vector["shape"], dtype=dtype)


def spread(tensor: torch.Tensor) -> torch.Tensor:
    """Return the same elements at every second place of a larger, transposed tensor."""
    big = torch.full((*tensor.shape[::-1], 2), 1, dtype=torch.float32).to(tensor.dtype)
    view = big[..., 1].permute(tuple(range(tensor.dim()))[::-1])
    view.copy_(tensor)
    return view


def anything(seed: int) -> torch.Tensor:
    """Return a tensor of random bits, dtype, shape and place: also at odd addresses, transposed, in steps, empty."""
    rng = random.Random(seed)
    dtype = rng.choice([torch.uint8, torch.bfloat16, torch.float32, torch.float64, torch.complex128])
    shape = [rng.choice([0, 1, 2, 3, 5, 17, 64, 129]) if rng.random() < 0.9 else 3000 for _ in range(rng.randint(0, 2))]
    step, offset = rng.randint(1, 2), rng.randint(0, 9)
    num = math.prod(shape) * step
    content = bytearray(rng.randbytes(max(1, num) * dtype.itemsize + offset))
    tensor = torch.frombuffer(content, dtype=dtype, offset=offset)[:num].view([*shape, step])[..., 0]
    return tensor.T if len(shape) == 2 and rng.random() < 0.5 else tensor


def main() -> None:
    load_package()
    from _harness_recorder import digest, native

    vectors = json.load(sys.stdin)["vectors"]
    tensors = {vector["name"]: tensor_of(vector) for vector in vectors}
    ways = {}
    machine_code, numpy = native.load(sys.argv[1])[0], digest.numpy
    assert machine_code is not None and numpy is not None
    random_tensors = {str(seed): anything(seed) for seed in range(300)}
    found = {}
    for way in ("native", "numpy", "torch"):
        digest.machine_code = machine_code if way == "native" else None
        digest.numpy = None if way == "torch" else numpy
        found[way] = {name: list(entry) for name, entry in digest.launch(random_tensors).result().items()}
        ways[f"{way} together"] = digest.launch(tensors)
        ways[f"{way} alone"] = [digest.launch({name: tensor}) for name, tensor in tensors.items()]
        ways[f"{way} spread"] = digest.launch({name: spread(tensor) for name, tensor in tensors.items()})
        ways[f"{way} graph"] = digest.launch(
            {
                name: tensor.clone().requires_grad_() if tensor.is_floating_point() else tensor
                for name, tensor in tensors.items()
            }
        )
        shifted = {}
        for name, tensor in tensors.items():
            room = torch.empty(tensor.numel() + 1, dtype=tensor.dtype)[1:].view(tensor.shape)
            shifted[name] = room.copy_(tensor)
        ways[f"{way} shifted"] = digest.launch(shifted)
        if torch.cuda.is_available():
            ways[f"{way} cuda"] = digest.launch({name: tensor.cuda() for name, tensor in tensors.items()})
        for name, pending in ways.items():
            if not isinstance(pending, dict):
                parts = pending if isinstance(pending, list) else [pending]
                ways[name] = {key: list(entry) for part in parts for key, entry in part.result().items()}
    numpy_conj = torch.tensor([1 + 2j, 3 - 4j])
    conj = digest.launch({"lazy": numpy_conj.conj(), "real": numpy_conj.conj().resolve_conj().clone()}).result()
    json.dump(
        {
            "ways": ways,
            "random": found,
            "conj": [list(entry) for entry in conj.values()],
            "text": digest.launch({"text": b'{"a":1}'}).result()["text"].digest,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
