"""Print what the recorder's digest gives for the golden vectors on standard input, computed in every way it has.

digest_probe.py LIBRARY: the machine code to use.
"""

import json
import math
import random
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[4] / "harness" / "recorder"))

from self_test import load_package, spread, tensor_of


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
    for way in ("native", "numpy", "torch") if digest.ALGORITHM == "ml128" else ("numpy", "torch"):
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
