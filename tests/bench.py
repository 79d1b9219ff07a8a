"""What recording costs: `make bench`. The digest's speed, and steps with the recorder beside steps without.

HARNESS_PYTHON names an interpreter with torch, transformers and peft; else the locked packages are installed once.
Trainings run in turns, ROUNDS of each (3 unless the environment says otherwise), on one thread each; reported are
medians over all steps, in processor time.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.report.printer import text_table
from harness.system.sources import RECORDER
from tests import ROOT

NUM_ROUNDS = int(os.environ.get("ROUNDS", "3"))
CHILD = ROOT / "tests" / "bench_training.py"
TRAININGS = {
    "lora": "LoRA on SmolLM2-135M",
    "full": "full fine-tuning of 17 M",
    "tiny": "0.2 M, 52 tensors",
}


def child(python, kind, **environment):
    """What bench_training.py prints for one kind, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run([python, CHILD, kind, RECORDER], env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


def recorded(python, kind):
    """The milliseconds of each step of a recorded training."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "runs" / "1"
        folder.mkdir(parents=True)
        steps = child(python, kind, HARNESS_RUN_DIR=str(folder), PYTHONPATH=str(RECORDER / "inject"))
        assert len((folder / "ledger.jsonl").read_text().splitlines()) > len(steps)
        return steps


def measure(python, kind):
    """One row: medians over the steps of all rounds."""
    bare, full = [], []
    for _ in range(NUM_ROUNDS):
        bare += child(python, kind)
        full += recorded(python, kind)
    plain, with_recorder = statistics.median(bare), statistics.median(full)
    return f"{plain:.1f}", f"{with_recorder:.1f}", f"{with_recorder / plain:.3f}"


def main():
    python = (
        os.environ.get("HARNESS_PYTHON")
        or subprocess.run(
            [sys.executable, "-m", "tests.torch_python"], check=True, stdout=subprocess.PIPE, text=True
        ).stdout.strip()
    )
    speeds = [(name, *(f"{speed:.2f}" for speed in row)) for name, row in child(python, "digest").items()]
    print(text_table(speeds, ("GB/s on one core", "one tensor of 64 MB", "tensors of 18 KB")))
    rows = [(text, *measure(python, kind)) for kind, text in TRAININGS.items()]
    print(text_table(rows, ("training", "bare step, ms", "recorded step, ms", "ratio")))


if __name__ == "__main__":
    main()
