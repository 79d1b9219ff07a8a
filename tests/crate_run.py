"""A run's folder as far as its RO-Crate describes it."""

import json

from harness.documents.digest import sha256
from tests import ROOT
from tests.made.documents import manifest_of, verdict_of


def make_run(folder, *, runner="docker"):
    """A run's folder: a straight training, one that was killed and resumed, and what was judged."""
    trajectories, runs = {"straight": (0,), "resumed": (137, 0)}, []
    files = {}
    for name, codes in trajectories.items():
        output = folder / name / "output" / "a file #1.safetensors"
        output.parent.mkdir(parents=True)
        output.write_bytes(b"weights")
        size_digest = {"size_bytes": 7, "sha256": str(sha256(b"weights"))}
        files[name] = {"ledgers": [], "files": {output.name: {"role": "output", "content": None, **size_digest}}}
        for number, code in enumerate(codes, 1):
            ledger = folder / name / "runs" / str(number) / "ledger.jsonl"
            ledger.parent.mkdir(parents=True)
            ledger.write_bytes(b"{}\n")
            killed = "self" if code else None
            runs.append(
                {
                    "trajectory": name,
                    "number": number,
                    "argv": ["python", "train.py"],
                    "exit_code": code,
                    "killed_by": killed,
                    "error": None,
                    "mode": "run",
                    "faults": [],
                    "oom_killed": False,
                    "settings": {},
                }
            )
    times = {"started": "2026-11-23T16:06:48.288520578Z", "finished": "2026-11-23T16:07:03.739698498Z"}
    moments = {"started": "2026-11-23T16:06:46+00:00", "finished": "2026-11-23T16:07:25+00:00"}
    times = times if runner == "docker" else {}
    known = [{"run": f"{run['trajectory']}/{run['number']}", "seconds": 1.0, **times} for run in runs]
    sha = "sha256:" + "a" * 64
    manifest = {
        "schema": 1,
        "harness": {"version": "1.2.3", "recorder": sha},
        "name": "tiny",
        "experiment_digest": sha,
        "scope": None,
        "runner": runner,
        "commit": "c" * 40,
        "dirty": False,
        "code": {"sha256": sha},
        "environment": {"host": {}, "process": {}, "gpu": {}},
        "experiment": {"environment": {"OMP_NUM_THREADS": "1", "SEED": "17"}, "image": "cpu"},
        "image": {"name": "cpu", "id": sha} if runner == "docker" else {"name": None, "id": None},
        "inputs": {
            "words": {"deb": "wordnet-base", "version": "1:3.0-37", "sha256": sha},
            "own": {"file": "data/words.txt", "sha256": sha},
        },
        "runs": runs,
        "trajectories": files,
        "volatile": {**moments, "run_id": "x", "runs": known},
    }
    check = {"verdict": "CERTIFIED", "required": True}
    verdict = {
        "schema": 2,
        "exit_code": 0,
        "checks": {"rerun": check, "resume": check, "rebuild": check},
        "compared": {},
        "control": {"failed_as_it_must": True, "controls": []},
        "testimony": {"tensors_on_disk": 0, "found_in_ledger": 0, "missing": []},
        "experiment": "tiny",
        "verdict": "CERTIFIED",
        "run_id": "20261123T160646Z-c0acdde-7938",
        "summary": "the same bits",
        "commit": "c" * 40,
        "dirty": False,
        "runner": runner,
    }
    (folder / "code").mkdir()
    (folder / "code" / "LICENSE").write_bytes((ROOT / "LICENSE").read_bytes())
    for name, document in (("manifest.json", manifest), ("verdict.json", verdict), ("config.json", {})):
        (folder / name).write_text(json.dumps(document))
    (folder / "report.html").write_text("<p>")
    return verdict_of(verdict), manifest_of(manifest)
