"""What the checks work with: an interpreter, a device, and a repository of its own with shortened experiments.

The experiments are `smollm2-cuda` on fewer pairs. A machine with a GPU may have no network and few packages: what
cannot be had there is replaced (the model by random weights of its shape, WordNet by made-up words) or left out
(trackers), and `changes` says so. With the device `cpu` all of it is small.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import random
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from harness.errors import EvidenceError, HarnessError
from harness.inputs.fetch import fetch_input
from harness.report.console import Progress
from harness.runs.request import Request
from harness.runs.runtime import Runner
from harness.system.git import run_git
from harness.system.project import EXPERIMENTS, read_experiment, read_text
from harness.system.store import Store

BASE = "smollm2-cuda"
BF16, FP16, MEMORY, ESTIMATE, FULL = "gpu-bf16", "gpu-fp16", "gpu-memory", "gpu-estimate", "gpu-full"
INPUTS = Path("pipelines") / "gpu-inputs"
_TIMEOUT_S = 300
_REMEDY = "run it in a checkout of the harness: the checks are made of its own pipelines"
_SMOLLM2 = {"hidden_size": 576, "intermediate_size": 1536, "num_layers": 30, "num_heads": 9, "num_kv_heads": 3}
_SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2}
_BATCHES: Mapping[str, Mapping[str, Any]] = {
    "cuda": {"train_pairs": 320, "pairs_per_epoch": 256, "validation_pairs": 32},
    "cpu": {"train_pairs": 80, "pairs_per_epoch": 64, "validation_pairs": 8},
}
_NUM_STEPS = 8
"""Steps of an epoch: the pairs of `_BATCHES` in micro-batches of 8 or 2, four of them a step."""
_KILLS = (
    {"kind": "micro_batch", "step": 5, "micro_batch": 2, "by": "outside"},
    {"kind": "in_write", "step": 12, "byte": 100000},
)
_WORDS = ("metal", "wall", "tool", "heat", "grain", "river", "stone", "thread", "wheel", "lamp", "field", "glass")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What every check is given.

    Attributes:
        root: the harness's checkout.
        work: the repository with the experiments; runs are written below it.
        python: the interpreter that has torch.
        device: `cpu` tries the checks themselves, without a GPU.
        gpu: the UUID of the GPU that is checked; None on a CPU.
        changes: what differs from `smollm2-cuda`, beside its length.
    """

    root: Path
    work: Path
    store: Store
    progress: Progress
    python: Path
    device: Literal["cuda", "cpu"]
    gpu: str | None = None
    changes: tuple[str, ...] = ()

    @property
    def latest(self) -> Path:
        """The folder of the newest certificate; there may be none."""
        return self.work / "runs" / BF16 / "latest"

    def request(self, name: str, runner: Runner = "host") -> Request:
        """A request for one of the experiments."""
        python = self.python if runner == "host" else None
        return Request(root=self.work, name=name, runner=runner, python=python, gpu=self.gpu)

    def run(self, *command: object, stdin: Path | None = None) -> str:
        """What a program prints that the interpreter runs, in the environment of the experiments, on this device.

        Raises:
            EvidenceError: it failed.
        """
        declared = read_experiment(self.work, BF16).environment
        environment = {**_environment(), **declared, "CUDA_VISIBLE_DEVICES": self.gpu or ""}
        with (stdin or Path(os.devnull)).open("rb") as given:
            done = subprocess.run(
                [str(self.python), *map(str, command)],
                stdin=given,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
                env=environment,
                cwd=self.work,
            )
        if done.returncode:
            raise EvidenceError(f"{command[0]} ended with {done.returncode}: {done.stderr[-1500:]}", "run it by itself")
        return done.stdout


def read_base(root: Path) -> str:
    """The experiment that all others are made from.

    Raises:
        UsageError: `root` is no checkout of the harness.
    """
    return read_text(root / EXPERIMENTS / f"{BASE}.yaml", _REMEDY)


def make_bench(bench: Bench) -> Bench:
    """Write the repository with the experiments; the same bench, with what had to be changed."""
    shutil.rmtree(bench.work, ignore_errors=True)
    for name in ("pipelines", "lockfiles"):
        shutil.copytree(bench.root / name, bench.work / name, ignore=shutil.ignore_patterns("__pycache__"))
    (bench.work / ".gitignore").write_text("__pycache__/\n", encoding="utf-8")
    bench = _with_experiments(bench)
    for arguments in (("init", "-q"), ("add", "-A", "-f"), ("commit", "-q", "-m", "GPU check")):
        done = run_git(bench.work, "-c", "user.name=gpu-check", "-c", "user.email=gpu-check@localhost", *arguments)
        if done.returncode:
            raise EvidenceError(f"git {arguments[0]}: {done.stderr.decode(errors='replace')}", "look at git's words")
    return bench


def _with_experiments(bench: Bench) -> Bench:
    declared: dict[str, Any] = yaml.safe_load(read_base(bench.root))
    changes = [*_without_trackers(declared, bench), *_without_inputs(declared, bench)]
    _shorten(declared, bench.device)
    edits = {BF16: None, FP16: _in_fp16, MEMORY: _on_all_cores, ESTIMATE: _without_gpu, FULL: _in_no_room}
    for name, edit in edits.items():
        experiment = copy.deepcopy(declared)
        if edit is not None:
            edit(experiment)
        (bench.work / EXPERIMENTS / f"{name}.yaml").write_text(yaml.safe_dump(experiment), encoding="utf-8")
    return dataclasses.replace(bench, changes=tuple(changes))


def _shorten(declared: dict[str, Any], device: str) -> None:
    config = declared["config"]
    config["data"] |= _BATCHES[device]
    config["training"] |= {"device": device, "epochs": 3, "warmup_steps": 2, "save_every": 4}
    declared |= {"steps": 3 * _NUM_STEPS, "interruptions": list(_KILLS)}
    declared["policy"]["required"] = ["rerun", "resume"]  # an image that is built is no question of the GPU's
    if device == "cpu":
        declared |= {"image": "cpu", "gpus": 0}
        config["model"] |= _SMALL
        config["training"] |= {"micro_batch_size": 2, "precision": "fp32"}


def _in_fp16(declared: dict[str, Any]) -> None:
    """One epoch with the loss scaler, which a resume has to restore."""
    declared["config"]["training"] |= {"precision": "fp16", "epochs": 1}
    declared |= {"steps": _NUM_STEPS, "interruptions": list(_KILLS[:1])}


def _on_all_cores(declared: dict[str, Any]) -> None:
    """What is measured are bytes, and a CPU is slow at the estimate."""
    declared["config"]["determinism"]["threads"] = threads = min(8, os.cpu_count() or 1)
    kept = {name: value for name, value in declared["environment"].items() if "ISA" not in name and "ATEN" not in name}
    declared["environment"] = {**kept, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def _without_gpu(declared: dict[str, Any]) -> None:
    _on_all_cores(declared)
    declared["gpus"] = 0


def _in_no_room(declared: dict[str, Any]) -> None:
    """What torch's allocator gives out is a thousandth of the card, so that others on it lose nothing."""
    declared["environment"]["PYTORCH_CUDA_ALLOC_CONF"] = "per_process_memory_fraction:0.001"


def _without_trackers(declared: dict[str, Any], bench: Bench) -> list[str]:
    """Take out trackers that the interpreter does not have."""
    tracking = declared["config"]["tracking"]
    missing = [name for name, is_wanted in tracking.items() if is_wanted and not _has(bench.python, name)]
    tracking |= dict.fromkeys(missing, False)
    return [f"no {name}: {bench.python} does not have it" for name in missing]


def _without_inputs(declared: dict[str, Any], bench: Bench) -> list[str]:
    """Replace the inputs if one of them cannot be had here."""
    problem = "the CPU is slow" if bench.device == "cpu" else _why_no_inputs(bench)
    if not problem:
        return []
    write_dictionary(bench.work / INPUTS / "wordnet" / "usr" / "share" / "wordnet")
    declared["inputs"] = {}
    declared["prepare"] = [INPUTS.as_posix() if part == "{inputs}" else part for part in declared["prepare"]]
    config = declared["config"]
    config["model"] = {"source": "random", "name": "gpu-check", **_SMOLLM2}
    config["data"] |= {"input": "wordnet", "prompt": "Define: {word} ({part})\n"}
    return [f"random weights of SmolLM2-135M's shape, and made-up words: {problem}"]


def _why_no_inputs(bench: Bench) -> str:
    if not _has(bench.python, "gguf"):
        return f"{bench.python} does not have gguf, which reads the model"
    try:
        for name, value in read_experiment(bench.root, BASE).inputs.items():
            fetch_input(value.named(name), bench.store, bench.root, bench.progress.note)
    except HarnessError as error:
        return error.problem
    return ""


def _has(python: Path, module: str) -> bool:
    look = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([python, "-c", look], check=False, capture_output=True, env=_environment()).returncode == 0


def _environment() -> dict[str, str]:
    """Without what is meant for the harness's own interpreter: trainings do not see it either."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def write_dictionary(folder: Path, num_words: int = 600) -> None:
    """Nouns with glosses of chance in WordNet's own format, wndb(5WN): an index names byte offsets in the data file."""
    chance, data, index = random.Random(0), "", []
    for number in range(num_words):
        word = f"{chance.choice(_WORDS)}_{number}"
        gloss = " ".join(chance.choices(_WORDS, k=chance.randint(2, 8)))
        index.append(f"{word} n 1 0 1 0 {len(data):08d}  \n")
        data += f"{len(data):08d} 06 n 01 {word} 0 000 | {gloss}  \n"
    folder.mkdir(parents=True)
    for suffix in ("noun", "verb", "adj", "adv"):
        (folder / f"data.{suffix}").write_text(data if suffix == "noun" else "", encoding="ascii")
        (folder / f"index.{suffix}").write_text("".join(index) if suffix == "noun" else "", encoding="ascii")
