"""Verdicts, manifests and curves that look like real ones: test data, nothing was trained for them."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.evidence.ledger import Progress
from harness.report.curves import Curve, curve_of

DIGEST = "sha256:" + "3f9a1c77" * 8
NUM_STEPS = 24


def check(verdict: str = "CERTIFIED", **fields: Any) -> dict[str, Any]:
    compared = {"steps": 24, "tensors": 4608, "bytes": 302_055_424, "files": 5}
    return {"verdict": verdict, "required": True, "how": "", "reason": "", "compared": compared, "bound": None} | fields


def share(num: int, of: int) -> dict[str, int]:
    return {"num": num, "of": of}


def interruption(kind: str, step: int, run: int, resumed_after: int, **fields: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "step": step,
        "micro_batch": None,
        "byte": None,
        "by": "self",
        "run": run,
        "signal": "SIGKILL",
        "exit_code": 137,
        "oom_killed": False,
        "landed": True,
        "resumed_after_step": resumed_after,
    } | fields


CERTIFIED: dict[str, Any] = {
    "schema": 2,
    "experiment": "tiny",
    "run_id": "20261123T052000Z-1a2b3c4",
    "commit": "1a2b3c4d5e6f70819203a4b5c6d7e8f901234567",
    "dirty": False,
    "runner": "docker",
    "verdict": "CERTIFIED",
    "exit_code": 0,
    "summary": "tiny gives the same bits when it is run again, when it is killed three times and resumed, and on a "
    "rebuilt image.",
    "checks": {
        "rerun": check(how="second straight run", bound="one rerun: no statistical claim"),
        "resume": check(
            how="3 kills, each resumed from the newest complete checkpoint",
            resumes=[
                {"run": 2, "started_after_step": 6, "checkpoint_step": 6, "step_source": "content"},
                {"run": 3, "started_after_step": 12, "checkpoint_step": 12, "step_source": "content"},
                {"run": 4, "started_after_step": 18, "checkpoint_step": 18, "step_source": "content"},
            ],
        ),
        "rebuild": check(how="built again from nothing", compared={"files": 2}, image_ids=[DIGEST, DIGEST]),
    },
    "interruptions": [
        interruption("micro_batch", 9, 1, 6, micro_batch=2),
        interruption("in_write", 18, 2, 12, byte=65536, signal="SIGXFSZ", exit_code=153),
        interruption("after_step", 20, 3, 18, by="outside"),
    ],
    "compared": {"steps": 72, "tensors": 13_824, "bytes": 906_166_272, "files": 12},
    "first_divergence": None,
    "streams_that_differ": [],
    "final_state_equal": True,
    "cause": None,
    "control": {
        "failed_as_it_must": True,
        "controls": [
            {"name": "tensor_bit", "detected": True, "detail": "one bit of lora_A.weight: 1 of 96 differs"},
            {"name": "ledger_digit", "detected": True, "detail": "step 12: the chain breaks"},
            {"name": "weights_moved", "detected": True, "detail": "48 of 48 trainable tensors moved"},
            {"name": "flip_param", "detected": True, "detail": "flipped at step 3, found at step 3 in param"},
            {
                "name": "flip_optim",
                "detected": True,
                "detail": "flipped after step 2, found at step 3 in param",
            },
        ],
    },
    "restored": [
        {
            "run": run,
            "after_step": step,
            "num_tensors": 96,
            "num_equal": 96,
            "different": [],
            "file": "checkpoints/latest.pt",
            "num_in_file": 96,
        }
        for run, step in ((2, 6), (3, 12), (4, 18))
    ],
    "testimony": {"tensors_on_disk": 24, "found_in_ledger": 24, "missing": []},
    "files": [
        {
            "path": "adapter/adapter_model.safetensors",
            "role": "output",
            "equal": True,
            "content": DIGEST,
            "num_tensors": 24,
        },
        {
            "path": "checkpoints/tiny_epoch1_loss3.1342.pt",
            "role": "checkpoint",
            "equal": True,
            "content": DIGEST,
            "num_tensors": 96,
        },
        {
            "path": "checkpoints/tiny_epoch2_loss2.4127.pt",
            "role": "checkpoint",
            "equal": True,
            "content": DIGEST,
            "num_tensors": 96,
        },
        {"path": "checkpoints/best.pt", "role": "checkpoint", "equal": True, "content": DIGEST, "num_tensors": 96},
        {"path": "checkpoints/latest.pt", "role": "checkpoint", "equal": True, "content": DIGEST, "num_tensors": 96},
    ],
    "problems": [],
    "not_checked": ["replay: no archived run was named", "another CPU model", "GPU: this run used the CPU only"],
}

DIVERGED: dict[str, Any] = copy.deepcopy(CERTIFIED) | {
    "experiment": "forgets-rng",
    "verdict": "DIVERGED",
    "exit_code": 1,
    "summary": "forgets-rng does not survive a kill: after the resume the torch CPU generator starts over, and dropout "
    "draws other masks from step 7 on.",
    "first_divergence": {
        "check": "resume",
        "trajectory": "resumed",
        "run": 2,
        "step": 7,
        "micro_batch": None,
        "stream": "rng",
        "tensor": "torch.cpu",
        "operator": None,
        "left": DIGEST,
        "right": DIGEST.replace("3f", "b0"),
    },
    "streams_that_differ": [
        {"stream": "rng", "first_step": 7, "num_steps": 18},
        {"stream": "loss", "first_step": 7, "num_steps": 18},
        {"stream": "grad", "first_step": 7, "num_steps": 17},
        {"stream": "optim", "first_step": 7, "num_steps": 18},
        {"stream": "param", "first_step": 7, "num_steps": 18},
    ],
    "final_state_equal": False,
    "cause": {
        "class": "rng_not_restored",
        "title": "The random number generators were not restored",
        "evidence": [
            "torch.cpu at the first step after the resume equals its state at step 1 of the straight run",
            "data, lr and param are equal at that step: model, optimizer, scheduler and sampler came back",
        ],
        "ruled_out": [
            "nondeterministic kernels: the rerun is equal",
            "lost optimizer state: 96 of 96 tensors came back",
        ],
        "fix": "Save torch.get_rng_state(), numpy.random.get_state() and random.getstate() in the checkpoint and set "
        "them again after the model is built, just before the first batch.",
    },
}
DIVERGED["cause"]["patch"] = '@@ last of all before the first batch @@\n+torch.set_rng_state(checkpoint["torch"])'
DIVERGED["divergence"] = {
    "state": {
        "run": 2,
        "after_step": 6,
        "read": "checkpoints/latest.pt",
        "file": "checkpoints/latest.pt",
        "file_step": 24,
        "rows": [
            {"piece": "weights", "in_file": share(48, 48), "calls": ["load_state_dict"], "live": share(48, 48)}
            | {"after_step": 6},
            {"piece": "torch's generator", "in_file": share(1, 1), "calls": ["torch.manual_seed"], "live": share(0, 1)},
            {"piece": "place in the data", "live": share(2, 2), "after_step": 6},
        ],
    },
    "tensors": [
        {"name": "torch", "dtype": "uint8", "shape": [5056], "straight": DIGEST, "other": DIGEST.replace("3f", "b0")},
        {"name": "1.1", "dtype": "float32", "shape": [], "straight": "2.0668", "other": "2.0653", "apart": 0.0015},
    ],
    "share": share(12, 40),
    "layers": {
        "steps": list(range(7, 25)),
        "rows": [
            {
                "module": f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{matrix}",
                "num_tensors": 4,
                "different": [0] * (layer // 2) + [1 + layer % 3] + [4] * (17 - layer // 2),
            }
            for layer in range(20)
            for matrix in "AB"
        ],
    },
}
DIVERGED["checks"]["resume"] |= {"verdict": "DIVERGED", "reason": "rng differs at step 7, the first after the resume"}
DIVERGED["restored"][0] |= {"num_equal": 95, "different": ["rng.torch.cpu"]}
DIVERGED["files"][0] |= {"equal": False}
DIVERGED["files"][4] |= {"equal": None}

INCONCLUSIVE: dict[str, Any] = {
    "schema": 2,
    "experiment": "tiny",
    "run_id": "20261123T061500Z-1a2b3c4",
    "commit": "1a2b3c4d5e6f70819203a4b5c6d7e8f901234567",
    "dirty": True,
    "runner": "docker",
    "verdict": "INCONCLUSIVE",
    "exit_code": 3,
    "summary": "Nothing could be compared: the engine stopped answering while the straight run was at step 5.",
    "checks": {
        "rerun": check("INCONCLUSIVE", compared={"steps": 0}, reason="the straight run did not finish"),
        "resume": check("INCONCLUSIVE", compared={"steps": 0}, reason="the straight run did not finish"),
        "rebuild": check("NOT_CHECKED", required=False, compared={}),
    },
    "compared": {},
    "control": {"failed_as_it_must": False, "controls": []},
    "testimony": {"tensors_on_disk": 0, "found_in_ledger": 0, "missing": []},
    "problems": ["straight, run 1: the engine stopped answering", "no control was run"],
    "not_checked": ["rebuild", "replay"],
}


def run(trajectory: str, number: int, exit_code: int = 0, killed_by: str | None = None) -> dict[str, Any]:
    return {
        "trajectory": trajectory,
        "number": number,
        "mode": "resume" if trajectory == "resumed" and number > 1 else "run",
        "argv": ["python", "train.py"],
        "faults": [],
        "exit_code": exit_code,
        "oom_killed": False,
        "killed_by": killed_by,
        "error": None,
        "settings": {},
    }


SECONDS = {
    "straight/1": 41.2,
    "rerun/1": 40.7,
    "resumed/1": 18.3,
    "resumed/2": 24.9,
    "resumed/3": 17.0,
    "resumed/4": 15.1,
}
MANIFEST: dict[str, Any] = {
    "schema": 1,
    "harness": {"version": "0.1.0", "recorder": DIGEST, "sources": DIGEST},
    "name": "tiny",
    "experiment": {
        "schema": 1,
        "image": "cpu",
        "steps": 24,
        "run": ["python", "lora/train.py", "--config", "{config}"],
        "config": {"seed": 1234, "lora_rank": 8, "learning_rate": 0.001, "micro_batches": 2},
    },
    "experiment_digest": DIGEST,
    "scope": None,
    "runner": "docker",
    "commit": "1a2b3c4d5e6f70819203a4b5c6d7e8f901234567",
    "dirty": False,
    "code": {"sha256": DIGEST},
    "image": {
        "name": "cpu",
        "id": DIGEST,
        "rebuild": {"id": DIGEST, "cache": "none"},
        "locks": {"lockfiles/base.lock": DIGEST, "lockfiles/cpu.lock": DIGEST},
    },
    "inputs": {"text": {"deb": "miscfiles", "version": "1.5+dfsg-4", "sha256": "ab" * 32}},
    "environment": {
        "host": {
            "cpu": "Intel Xeon Processor",
            "cores": 2,
            "memory_bytes": 25_200_000_000,
            "kernel": "6.1.0",
            "system": "Debian 12",
            "gpus": [],
        },
        "process": {"versions": {"python": "3.11.2", "torch": "2.13.0+cpu", "numpy": "2.4.1"}, "threads": 1},
        "gpu": {},
    },
    "runs": [
        run("straight", 1),
        run("rerun", 1),
        run("resumed", 1, 137, "self"),
        run("resumed", 2, 153, "self"),
        run("resumed", 3, 137, "outside"),
        run("resumed", 4),
    ],
    "trajectories": {},
    "volatile": {
        "run_id": "20261123T052000Z-1a2b3c4",
        "started": "2026-11-23T05:20:00Z",
        "finished": "2026-11-23T05:24:12Z",
        "seconds": {"image": 3.1, "straight": 41.2, "resumed": 75.3},
        "runs": [{"run": name, "seconds": seconds} for name, seconds in SECONDS.items()],
    },
}


def verdict(document: dict[str, Any] = CERTIFIED, **changes: Any) -> Verdict:
    """The verdict of a document, some of its keys replaced."""
    return Verdict.from_json({**document, **changes}, "verdict.json")


def checks(document: dict[str, Any], name: str, **changes: Any) -> dict[str, Any]:
    """The checks of a document, one of them changed."""
    return {**document["checks"], name: document["checks"][name] | changes}


def manifest(document: dict[str, Any] = MANIFEST, **changes: Any) -> Manifest:
    """The manifest of a document, some of its keys replaced."""
    return Manifest.from_json({**document, **changes}, "manifest.json")


def loss_at(step: int) -> float:
    return 2.1 + 1.9 * math.exp(-step / 9) + 0.08 * math.sin(step * 1.7)


def progress(first: int, last: int, shift: float = 0.0) -> list[Progress]:
    return [
        Progress(
            step=step,
            loss=loss_at(step) + shift * math.sin(step * 2.3) * (step - first + 1) ** 0.5,
            lr=1e-3 * min(step / 4, (NUM_STEPS - step) / (NUM_STEPS - 4)),
            seconds=1.1 + 0.12 * math.sin(step * 3.1) + (0.6 if step == first else 0),
            rss_bytes=910_000_000 + 400_000 * (step - first),
            vram_bytes=None,
            recorder_seconds=None,
        )
        for step in range(first, last + 1)
    ]


def curve(name: str, number: int, rows: Iterable[Progress], *evals: int) -> Curve:
    """A run's curve, with validations after some of its steps."""
    found = curve_of(name, number, None, rows)
    return dataclasses.replace(found, eval_steps=evals, eval_losses=tuple(loss_at(step) + 0.2 for step in evals))


def curve_of_losses(name: str, losses: Iterable[float | None]) -> Curve:
    """The curve of a run that reported nothing but losses."""
    unknown = {"lr": None, "seconds": None, "rss_bytes": None, "vram_bytes": None, "recorder_seconds": None}
    return curve_of(name, 1, None, [Progress(step=n, loss=loss, **unknown) for n, loss in enumerate(losses, start=1)])


def curves(shift: float = 0.0) -> list[Curve]:
    return [
        curve("straight", 1, progress(1, 24), 6, 12, 18, 24),
        curve("rerun", 1, progress(1, 24)),
        curve("resumed", 1, progress(1, 8), 6),
        curve("resumed", 2, progress(7, 18, shift), 12, 18),
        curve("resumed", 3, progress(13, 20, shift)),
        curve("resumed", 4, progress(19, 24, shift), 24),
    ]
