"""The documents of a past run, as small as they can be."""

from harness.documents.manifest import Manifest
from harness.documents.verdict import Check, Checks, Compared, Control, Testimony, Verdict

RUN = "20261123T160543Z-c0acdde-3f16"
_NOT_CHECKED = Check(verdict="NOT_CHECKED", required=False)
VERDICT = Verdict(
    experiment="exp",
    run_id=RUN,
    commit="c" * 40,
    dirty=False,
    runner="docker",
    verdict="CERTIFIED",
    exit_code=0,
    summary="",
    checks=Checks(rerun=_NOT_CHECKED, resume=_NOT_CHECKED, rebuild=_NOT_CHECKED),
    compared=Compared(),
    control=Control(failed_as_it_must=True, controls=()),
    testimony=Testimony(tensors_on_disk=0, found_in_ledger=0, missing=()),
).to_json()


def file(role, content):
    return {"role": role, "size_bytes": 1, "sha256": None, "content": content}


MANIFEST = Manifest.from_json(
    {
        "schema": 1,
        "name": "exp",
        "experiment_digest": "sha256:e",
        "scope": None,
        "commit": "c" * 40,
        "dirty": False,
        "runner": "docker",
        "code": {"sha256": "sha256:1"},
        "harness": {"version": "0.1.0", "recorder": "sha256:r"},
        "image": {"id": "sha256:i"},
        "experiment": {
            "image": "tiny",
            "run": ["python", "train/train.py"],
            "steps": 8,
            "config": {"lr": 0.1},
            "description": "words",
        },
        "prepared": {"a": "sha256:p"},
        "environment": {
            "host": {
                "cpu": "One",
                "cores": 2,
                "gpus": [{"name": "RTX 4090", "uuid": "GPU-1", "memory_bytes": 1, "driver": "570.1", "cuda": "12.8"}],
            },
            "process": {},
            "gpu": {"uuids": []},
        },
        "runs": [],
        "trajectories": {
            "straight": {
                "ledgers": ["sha256:h"],
                "files": {
                    "m.safetensors": file("output", "sha256:o"),
                    "c.pt": file("checkpoint", "sha256:c"),
                },
            }
        },
        "volatile": {"run_id": RUN, "runs": [{"run": "straight/1", "seconds": 12.5}]},
    },
    "manifest.json",
).to_json()
