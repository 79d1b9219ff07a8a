"""Verdicts, manifests and curves that look like real ones: test data, nothing was trained for them."""

from __future__ import annotations

import copy
import math
from typing import Any

from harness.report.curves import Curve, curve_from_rows

DIGEST = "sha256:" + "3f9a1c77" * 8
NUM_STEPS = 24


def oracle(verdict: str = "CERTIFIED", **fields: Any) -> dict[str, Any]:
    compared = {"steps": 24, "tensors": 4608, "bytes": 302_055_424, "files": 5}
    return {"verdict": verdict, "required": True, "how": "", "reason": "", "compared": compared, "bound": None} | fields


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
    "schema": 1,
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
        "rerun": oracle(
            how="second straight run", bound="1 of 1 held: with 95 % confidence fewer than 95.0 % of reruns differ"
        ),
        "resume": oracle(
            how="3 kills, each resumed from the newest complete checkpoint",
            resumes=[
                {"run": 2, "started_after_step": 6, "checkpoint_step": 6, "step_source": "content"},
                {"run": 3, "started_after_step": 12, "checkpoint_step": 12, "step_source": "content"},
                {"run": 4, "started_after_step": 18, "checkpoint_step": 18, "step_source": "content"},
            ],
        ),
        "rebuild": oracle(how="built again from nothing", compared={"files": 2}, image_ids=[DIGEST, DIGEST]),
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
DIVERGED["checks"]["resume"] |= {"verdict": "DIVERGED", "reason": "rng differs at step 7, the first after the resume"}
DIVERGED["restored"][0] |= {"num_equal": 95, "different": ["rng.torch.cpu"]}
DIVERGED["files"][0] |= {"equal": False}
DIVERGED["files"][4] |= {"equal": None}

INCONCLUSIVE: dict[str, Any] = {
    "schema": 1,
    "experiment": "tiny",
    "run_id": "20261123T061500Z-1a2b3c4",
    "commit": "1a2b3c4d5e6f70819203a4b5c6d7e8f901234567",
    "dirty": True,
    "runner": "docker",
    "verdict": "INCONCLUSIVE",
    "exit_code": 3,
    "summary": "Nothing could be compared: the engine stopped answering while the straight run was at step 5.",
    "checks": {
        "rerun": oracle("INCONCLUSIVE", compared={"steps": 0}, reason="the straight run did not finish"),
        "resume": oracle("INCONCLUSIVE", compared={"steps": 0}, reason="the straight run did not finish"),
        "rebuild": oracle("NOT_CHECKED", required=False, compared={}),
    },
    "problems": ["straight, run 1: the engine stopped answering", "no control was run"],
    "not_checked": ["rebuild", "replay"],
}

MANIFEST: dict[str, Any] = {
    "schema": 1,
    "harness": {"version": "0.1.0"},
    "experiment": {
        "schema": 1,
        "image": "cpu",
        "steps": 24,
        "run": ["python", "lora/train.py", "--config", "{config}"],
        "config": {"seed": 1234, "lora_rank": 8, "learning_rate": 0.001, "micro_batches": 2},
    },
    "image": {
        "name": "cpu",
        "id": DIGEST,
        "rebuild": {"id": DIGEST, "cache": "none"},
        "locks": {"lockfiles/base.lock": DIGEST, "lockfiles/cpu.lock": DIGEST},
    },
    "inputs": {"text": {"reference": "deb:miscfiles", "version": "1.5+dfsg-4", "sha256": "ab" * 32}},
    "environment": {
        "host": {
            "cpu_model": "Intel Xeon Processor",
            "num_cores": 2,
            "memory_bytes": 25_200_000_000,
            "kernel": "6.1.0",
            "os": "Debian 12",
        },
        "process": {"python": "3.11.2", "torch": "2.13.0+cpu", "numpy": "2.4.1", "num_threads": 1},
        "gpu": None,
    },
    "runs": [
        {
            "trajectory": "straight",
            "number": 1,
            "mode": "run",
            "exit_code": 0,
            "seconds": 41.2,
            "killed_by": None,
            "error": None,
        },
        {
            "trajectory": "rerun",
            "number": 1,
            "mode": "run",
            "exit_code": 0,
            "seconds": 40.7,
            "killed_by": None,
            "error": None,
        },
        {
            "trajectory": "resumed",
            "number": 1,
            "mode": "run",
            "exit_code": 137,
            "seconds": 18.3,
            "killed_by": "self",
            "error": None,
        },
        {
            "trajectory": "resumed",
            "number": 2,
            "mode": "resume",
            "exit_code": 153,
            "seconds": 24.9,
            "killed_by": "self",
            "error": None,
        },
        {
            "trajectory": "resumed",
            "number": 3,
            "mode": "resume",
            "exit_code": 137,
            "seconds": 17.0,
            "killed_by": "outside",
            "error": None,
        },
        {
            "trajectory": "resumed",
            "number": 4,
            "mode": "resume",
            "exit_code": 0,
            "seconds": 15.1,
            "killed_by": None,
            "error": None,
        },
    ],
    "volatile": {
        "started": "2026-11-23T05:20:00Z",
        "finished": "2026-11-23T05:24:12Z",
        "seconds": {"image": 3.1, "straight": 41.2, "resumed": 75.3},
    },
}


def loss_at(step: int) -> float:
    return 2.1 + 1.9 * math.exp(-step / 9) + 0.08 * math.sin(step * 1.7)


def rows(first: int, last: int, shift: float = 0.0) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "loss": loss_at(step) + shift * math.sin(step * 2.3) * (step - first + 1) ** 0.5,
            "lr": 1e-3 * min(step / 4, (NUM_STEPS - step) / (NUM_STEPS - 4)),
            "seconds": 1.1 + 0.12 * math.sin(step * 3.1) + (0.6 if step == first else 0),
            "rss_bytes": 910_000_000 + 400_000 * (step - first),
            "vram_bytes": None,
        }
        for step in range(first, last + 1)
    ]


def curves(shift: float = 0.0) -> list[Curve]:
    evals = [{"kind": "eval", "step": step, "loss": [(loss_at(step) + 0.2).hex()]} for step in (6, 12, 18, 24)]
    return [
        curve_from_rows("straight", 1, rows(1, 24), evals),
        curve_from_rows("rerun", 1, rows(1, 24)),
        curve_from_rows("resumed", 1, rows(1, 8), evals[:1]),
        curve_from_rows("resumed", 2, rows(7, 18, shift), evals[1:3]),
        curve_from_rows("resumed", 3, rows(13, 20, shift)),
        curve_from_rows("resumed", 4, rows(19, 24, shift), evals[3:]),
    ]
