"""Look at the parts of pipelines/lora that need torch, one by one; print what was seen as JSON."""

import json
import os
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, sys.argv[1])

import checkpoint
import data
import determinism
import numpy
import torch
from config import DeterminismConfig, PipelineError


def sampler(**changes):
    return data.EpochSampler(**{"num_pairs": 10, "batch_size": 3, "seed": 4, **changes})


def epochs():
    order = sampler()
    whole = []
    for epoch in (0, 1, 0):
        order.set_epoch(epoch)
        whole.append(list(order))
    order.set_epoch(1, 2)
    return {"whole": whole, "rest": list(order), "length": len(order)}


def part_of_the_pairs():
    return [list(sampler(num_pairs=50, pairs_per_epoch=7)), sampler(num_pairs=50, pairs_per_epoch=7).batches_per_epoch]


def foreign_state():
    try:
        sampler().load_state_dict(sampler(seed=5).state_dict(1))
    except PipelineError as error:
        return str(error)


def batch():
    pairs = [data.Pair((5, 6, 7, 8), 2), data.Pair((9, 10), 1)]
    made = data.collate(pairs, pad_token_id=0)
    return {**{name: tensor.tolist() for name, tensor in made.items()}, "targets": data.num_targets(made)}


def a_label_on_the_first_token_does_not_count():
    return data.num_targets(data.collate([data.Pair((5, 6, 7), 0)], 0))


def windows():
    return list(data.windows(iter("abcdefgh"), 3))


def draws():
    return [random.random(), float(numpy.random.rand()), float(numpy.random.randn()), torch.rand(2).tolist()]


def rng():
    determinism.seed_everything(3)
    random.gauss(0, 1), numpy.random.randn()  # both keep a second value for later
    with tempfile.TemporaryDirectory() as folder:
        torch.save(determinism.rng_state(), Path(folder) / "rng.pt")
        first = draws()
        determinism.restore_rng(torch.load(Path(folder) / "rng.pt", weights_only=True))
    second = draws()
    with determinism.untouched_rng():
        draws()
    third = draws()
    determinism.seed_everything(3)
    random.gauss(0, 1), numpy.random.randn(), draws()
    return {"first": first, "second": second, "third": third, "expected third": draws()}


def loading_data_draws_nothing():
    determinism.seed_everything(3)
    before = torch.get_rng_state()
    pairs = [data.Pair((1, 2, 3), 1)] * 10
    for num_workers in (0, 1):
        list(data.make_loader(pairs, sampler(), pad_token_id=0, num_workers=num_workers))
    return torch.equal(before, torch.get_rng_state())


def worker_seeds():
    class Drawing:
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return [random.random(), float(numpy.random.rand()), float(torch.rand(1))]

    def drawn():
        loader = data.make_loader(Drawing(), sampler(num_pairs=4, batch_size=1), pad_token_id=0, num_workers=2)
        loader.collate_fn = list
        return [item for part in loader for item in part]

    return [drawn(), drawn()]


def switches():
    seen = []
    for on in (True, False):
        settings = DeterminismConfig(
            deterministic_algorithms=on,
            fill_uninitialized_memory=on,
            cudnn_deterministic=on,
            cudnn_benchmark=on,
            tf32=on,
        )
        determinism.set_determinism(settings, "cpu")
        cudnn = torch.backends.cudnn
        seen.append([
            torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory,
            cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, torch.get_float32_matmul_precision(),
        ])  # fmt: skip
    return seen


def cublas():
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
    try:
        determinism.set_determinism(DeterminismConfig(), "cuda")
    except PipelineError as error:
        return str(error)


def state(value):
    return {**dict.fromkeys(checkpoint.KEYS), "format": 1, "config": {}, "global_step": value}


class Crash(Exception):
    """Stands for the kill: whatever comes after it does not happen."""


def every_crash_of_a_save():
    """Interrupt a save before each of its replacements; which of old (1) and new (2) is found afterwards?"""
    found, replace = [], os.replace
    for existing in (False, True):
        for allowed in range(5):
            left = [allowed]

            def crashing(*arguments, left=left):
                if left[0] == 0:
                    raise Crash
                left[0] -= 1
                replace(*arguments)

            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                if existing:
                    checkpoint.save(folder / "latest.pt", state(1))
                os.replace = crashing
                try:
                    checkpoint.save(folder / "latest.pt", state(2))
                    finished = True
                except Crash:
                    finished = False
                finally:
                    os.replace = replace
                loaded, _ = checkpoint.load_newest(folder, NoConfig())
                found.append([[existing, allowed], [finished, loaded and loaded["global_step"]]])
    return found


class NoConfig:
    def as_dict(self):
        return {}


def rejections():
    """Put damaged checkpoints of each kind into a folder with one that is sound."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for step, file in enumerate(["x_epoch1_loss0.5000.pt", "x_epoch2_loss0.4000.pt", "x_epoch10_loss0.3000.pt"]):
            checkpoint.save(folder / file, state(step))
        checkpoint.save(folder / "latest.pt", {**state(9), "format": 0})
        (folder / "x_epoch10_loss0.3000.pt.sha256").unlink()
        with (folder / "x_epoch2_loss0.4000.pt").open("ab") as file:
            file.write(b"more")
        (folder / "best.pt.tmp").write_bytes(b"PK")
        loaded, report = checkpoint.load_newest(folder, NoConfig())
        return {"step": loaded["global_step"], "report": report, "left": sorted(p.name for p in folder.glob("*.tmp"))}


def sums():
    """Is a checksum file what sha256sum writes?"""
    import hashlib

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "latest.pt"
        for step in (1, 2):
            checkpoint.save(path, state(step))
        expected = f"{hashlib.sha256(path.read_bytes()).hexdigest()}  latest.pt\n"
        return (Path(name) / "latest.pt.sha256").read_text() == expected


LOOKS = (
    epochs, part_of_the_pairs, foreign_state, batch, a_label_on_the_first_token_does_not_count, windows, rng,
    loading_data_draws_nothing, worker_seeds, switches, cublas, every_crash_of_a_save, rejections, sums,
)  # fmt: skip

if __name__ == "__main__":
    print(json.dumps({look.__name__: look() for look in LOOKS}))
