"""Write tests/golden/torch/: archives of torch.save and safetensors files, and what torch says is in them.

Run it with an interpreter that has torch, numpy and safetensors: python tests/golden/make_torch_files.py
"""

import argparse
import collections
import hashlib
import json
import pickle
import random
import shutil
import tempfile
from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file
from torch.distributed import checkpoint as distributed
from torch.utils.serialization import config as serialization

FOLDER = Path(__file__).parent / "torch"


def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    base = torch.randn(6, 4)
    return {
        "plain": torch.randn(3, 5),
        "transposed": base.t(),
        "strided": base[1:5:2, ::3],
        "tail": base.flatten()[5:],
        "expanded": torch.randn(1, 3).expand(4, 3),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "half": torch.randn(7).half(),
        "brain": torch.randn(7).bfloat16(),
        "double": torch.randn(2, 2).double(),
        "eighth": torch.randn(9).to(torch.float8_e4m3fn),
        "eighth_wide": torch.randn(9).to(torch.float8_e5m2),
        "long": torch.arange(-3, 3),
        "int": torch.arange(5, dtype=torch.int32),
        "short": torch.arange(5, dtype=torch.int16),
        "char": torch.arange(-2, 3, dtype=torch.int8),
        "byte": torch.arange(5, dtype=torch.uint8),
        "word": torch.arange(5).to(torch.uint16),
        "bool": torch.tensor([True, False, True]),
        "complex": torch.randn(3, dtype=torch.complex64),
        "zeros": torch.tensor([0.0, -0.0, float("nan"), float("inf")]),
        "parameter": torch.nn.Parameter(torch.randn(4)),
    }


def checkpoint() -> dict:
    torch.manual_seed(5)
    random.seed(5)
    numpy.random.seed(5)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    for _ in range(2):
        model(torch.randn(5, 4)).square().mean().backward()
        optimizer.step()
        scheduler.step()
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "epoch": 3,
        "loss": 0.1,
        "best": float("inf"),
        "nothing": None,
        "done": False,
        "name": "tiny/1~é",
        "raw": b"\x00\xff",
        "python": random.getstate(),
        "numpy": numpy.random.get_state(),
        "torch": torch.get_rng_state(),
        "names": {"b", "a"},
        "pair": (1, 2.0),
        "ordered": collections.OrderedDict(z=1),
        "dtype": torch.float32,
        "config": argparse.Namespace(lr=0.5),
        "size": torch.Size([2, 3]),
        "1": "text",
        1: "number",
        "empty": {},
        "list": [],
        "number": 1 + 2j,
        "big": 1 << 80,
    }


def described(tensor: torch.Tensor) -> dict:
    data = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return {
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def other_formats() -> None:
    """What is no archive of torch.save under the name that people give it."""
    state = {
        "w": torch.arange(6.0).reshape(2, 3),
        "b": torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16)),
        "step": 7,
    }
    torch.save(state, FOLDER / "legacy.bin", _use_new_zipfile_serialization=False)
    (FOLDER / "pickled.ckpt").write_bytes(pickle.dumps(state))
    torch.jit.script(torch.nn.Linear(2, 3)).save(str(FOLDER / "scripted.model"))
    odd = {
        "q": torch.quantize_per_tensor(torch.randn(4, 4), 0.1, 0, torch.qint8),
        "c": torch.zeros(2, dtype=torch.complex64).conj(),
        "s": torch.eye(3).to_sparse(),
        "u": torch.zeros(2, dtype=torch.uint16),
    }
    torch.save(odd, FOLDER / "odd.pth.tar")
    torch.save(torch.arange(6.0), FOLDER / "bare.pt")
    serialization.save.compute_crc32 = False
    torch.save(state, FOLDER / "nocrc.pt")
    serialization.save.compute_crc32 = True
    with tempfile.TemporaryDirectory() as folder:
        distributed.save({"model": {"w": state["w"], "b": torch.ones(3)}, "step": 7}, checkpoint_id=folder)
        shutil.copy(Path(folder) / "__0_0.distcp", FOLDER / "parts.distcp")
        shutil.copy(Path(folder) / ".metadata", FOLDER / "parts.metadata")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    many = tensors()
    torch.save(many, FOLDER / "tensors.pt")
    torch.save(checkpoint(), FOLDER / "checkpoint.pt")
    torch.save({"a": torch.ones(2)}, FOLDER / "legacy.pt", _use_new_zipfile_serialization=False)
    flat = {name: tensor.detach().contiguous().clone() for name, tensor in many.items()}
    save_file(flat, FOLDER / "tensors.safetensors", {"format": "pt"})
    expected = {"torch": torch.__version__, "tensors": {name: described(tensor) for name, tensor in many.items()}}
    other_formats()
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
