"""Look at the parts of pipelines/lora that need torch, one by one; print what was seen as JSON."""

import json
import os
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, sys.argv[1])

import batching
import checkpoint
import data
import determinism
import numpy
import schedule
import torch
import transformers
from config import DeterminismConfig, PipelineError, TrainingConfig
from stopping import EarlyStopping


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
    return [list(sampler(num_pairs=50, pairs_per_epoch=7)), sampler(num_pairs=50, pairs_per_epoch=7).num_batches(0)]


LENGTHS = [3 + (7 * number) % 23 + (40 if number % 11 == 0 else 0) for number in range(403)]


def batchings():
    """403 pairs of 3 to 65 tokens, 400 of them an epoch, in micro-batches of 4 rows, packed of at most 70 tokens."""
    seen = {"lengths": LENGTHS}
    for kind in ("shuffled", "bucketed", "packed"):
        order = sampler(num_pairs=403, batch_size=4, pairs_per_epoch=400, batching=kind, lengths=LENGTHS, row_length=70)
        epochs = [order.batches(epoch) for epoch in (0, 1, 2, 1)]
        order.set_epoch(1, 5)
        after_others = list(order)
        fresh = sampler(num_pairs=403, batch_size=4, pairs_per_epoch=400, batching=kind, lengths=LENGTHS, row_length=70)
        fresh.set_epoch(1)
        seen[kind] = {
            "epochs": epochs,
            "rest": after_others,
            "length": len(order),
            "fresh": list(fresh),
            "counted": [order.num_batches(epoch) for epoch in (0, 1, 2)],
        }
    return seen


def packed_counts():
    """How many rows the first 12 epochs have, counted before any of them, and listed."""
    order = sampler(num_pairs=403, batch_size=1, pairs_per_epoch=40, batching="packed", lengths=LENGTHS, row_length=70)
    counted = [order.num_batches(epoch) for epoch in range(12)]
    return [counted, [len(order.batches(epoch)) for epoch in range(12)]]


def too_long_for_a_row():
    try:
        sampler(num_pairs=2, batching="packed", lengths=[5, 9], row_length=8)
    except PipelineError as error:
        return str(error)


def packing():
    """Pairs of 5, 6, 2, 5, 4 and 3 tokens in rows of 10, two rows a micro-batch."""
    generator = torch.Generator().manual_seed(0)
    return sorted(batching.packed([0, 1, 2, 3, 4, 5], [5, 6, 2, 5, 4, 3], 2, 10, generator), key=len)


def packed_batch():
    rows = [(data.Pair((5, 6, 7), 1), data.Pair((8, 9), 0)), (data.Pair((4, 3), 1),)]
    made = data.collate_packed(rows, pad_token_id=0)
    return {**{name: tensor.tolist() for name, tensor in made.items()}, "targets": data.num_targets(made)}


def loaded():
    """The micro-batches that a loader hands out, for each batching and number of workers, from position 3 on.

    The folder for temporary files has too long a name for a socket in it.
    """
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = os.path.join(folder, 100 * "x")
        os.mkdir(tempfile.tempdir)
        try:
            return load_all()
        finally:
            tempfile.tempdir = None


def load_all():
    pairs = [data.Pair(tuple(range(length)), 2) for length in LENGTHS]
    seen = {}
    for kind in ("shuffled", "bucketed", "packed"):
        for num_workers in (0, 1, 2):
            order = sampler(num_pairs=403, batch_size=8, batching=kind, lengths=LENGTHS, row_length=70)
            order.set_epoch(1, 3)
            loader = data.make_loader(pairs, order, pad_token_id=0, num_workers=num_workers)
            batches = [data.as_tensors(batch) for batch in loader]
            kinds = sorted({str(tensor.dtype) for batch in batches for tensor in batch.values()})
            listed = [{name: tensor.tolist() for name, tensor in batch.items()} for batch in batches]
            seen[f"{kind} {num_workers}"] = [len(batches), repr(listed), kinds]
    return seen


def data_digests():
    one, other = data.Pair((1, 2, 3), 1), data.Pair((1, 2, 3), 2)
    return [data.digest([one], [one]), data.digest([one], [one]), data.digest([other], [one]), data.digest([one, one])]


def schedules():
    """For each schedule and warm-up the factors of 12 steps: ours, and those of transformers' own."""
    seen = []
    for kind in ("linear", "cosine", "constant"):
        for warmup in (0, 1, 4):
            settings = TrainingConfig(
                epochs=1, micro_batch_size=1, accumulation=1, learning_rate=1.0, warmup_steps=warmup, schedule=kind
            )
            ours = [schedule.learning_rate_factor(step, 12, settings) for step in range(13)]
            optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
            name = "constant_with_warmup" if kind == "constant" else kind
            theirs = transformers.get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=12)
            rates = []
            for _ in range(13):
                rates.append(theirs.get_last_lr()[0])
                optimizer.step()
                theirs.step()
            seen.append([kind, warmup, ours, rates])
    return seen


def stopping():
    """After which of these validation losses a training ends, by patience and delta."""
    losses = [1.0, 0.9, 0.85, 0.82, 0.83, 0.81, 0.70, 0.71, 0.72, 0.73]

    def ends_after(patience, min_delta, lose_state_after=None, keep_state_after=None):
        watch = EarlyStopping(patience, min_delta)
        for number, loss in enumerate(losses, start=1):
            watch.update(loss)
            if watch.is_due:
                return number
            if number == keep_state_after:
                state = json.loads(json.dumps(watch.state_dict()))
                watch = EarlyStopping(patience, min_delta)
                watch.load_state_dict(state)
            if number == lose_state_after:
                watch = EarlyStopping(patience, min_delta)
        return None

    return {
        "never": ends_after(None, 0.0),
        "patience 1": ends_after(1, 0.0),
        "patience 2": ends_after(2, 0.0),
        "patience 3": ends_after(3, 0.0),
        "delta": ends_after(2, 0.1),
        "large delta": ends_after(2, 10.0),
        "restored": [ends_after(3, 0.0, keep_state_after=n) for n in range(1, 10)],
        "lost": ends_after(3, 0.0, lose_state_after=8),
    }


def hash_seed():
    """Refused or not: an environment that fixes the hashing of strings, one that does not, one that says random."""
    seen = []
    for value in ("0", "77", None, "random"):
        os.environ.pop("PYTHONHASHSEED", None)
        if value is not None:
            os.environ["PYTHONHASHSEED"] = value
        try:
            determinism.require_hash_seed(DeterminismConfig())
            seen.append(None)
        except PipelineError as error:
            seen.append(str(error))
    determinism.require_hash_seed(DeterminismConfig(fixed_hash_seed=False))
    os.environ["PYTHONHASHSEED"] = "0"
    return seen


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
            mkldnn_deterministic=on,
            tf32=on,
            reduced_precision_sums=on,
        )
        determinism.set_determinism(settings, "cpu")
        cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
        seen.append(
            [
                torch.are_deterministic_algorithms_enabled(),
                not torch.is_deterministic_algorithms_warn_only_enabled(),
                torch.utils.deterministic.fill_uninitialized_memory,
                torch.backends.mkldnn.deterministic,
                cudnn.deterministic,
                cudnn.benchmark,
                cudnn.allow_tf32,
                products.allow_tf32,
                torch.get_float32_matmul_precision(),
                torch.backends.mkldnn.matmul.fp32_precision,
                products.allow_fp16_reduced_precision_reduction,
                products.allow_bf16_reduced_precision_reduction,
                products.allow_fp16_accumulation,
                torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed(),
            ]
        )
    return seen


def cublas():
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
    try:
        determinism.set_determinism(DeterminismConfig(), "cuda")
    except PipelineError as error:
        return str(error)


def state(value):
    return {**dict.fromkeys(checkpoint.KEYS), "format": checkpoint.FORMAT, "config": {}, "global_step": value}


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
    epochs,
    part_of_the_pairs,
    batchings,
    packed_counts,
    too_long_for_a_row,
    packing,
    packed_batch,
    loaded,
    data_digests,
    schedules,
    stopping,
    hash_seed,
    foreign_state,
    batch,
    a_label_on_the_first_token_does_not_count,
    windows,
    rng,
    loading_data_draws_nothing,
    worker_seeds,
    switches,
    cublas,
    every_crash_of_a_save,
    rejections,
    sums,
)

if __name__ == "__main__":
    print(json.dumps({look.__name__: look() for look in LOOKS}))
