"""What a run costs beyond its bare training: `make bench`. Ratios of runs that alternate within one session.

For each experiment the same training runs in the same image, hardened container with recorder against a plain container
without it, in turns. Reported are medians of the whole process's wall time, and what the recorder says of itself.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tabulate import tabulate

from harness.core.digest import canonical_json
from harness.core.experiment import parse_experiment
from harness.host import engine
from harness.host.builder import build
from harness.host.sandbox import ContainerSandbox, Order, Place, owner
from harness.host.store import open_store
from harness.workflow import RECORDER

ROOT = Path(__file__).resolve().parents[1]
NUM_ROUNDS = int(os.environ.get("ROUNDS", "3"))


def order(folder: Path, experiment, *, with_recorder: bool) -> Order:
    """One bare or recorded run of an experiment without inputs."""
    (folder / "output").mkdir(parents=True)
    (folder / "runs").mkdir()
    for path in (folder / "output", folder / "runs"):
        os.chown(path, *owner())
    config = folder / "config.json"
    config.write_bytes(canonical_json(experiment.config))
    places = {
        "code": Place(outside=ROOT, inside="/code"),
        "config": Place(outside=config, inside="/config/config.json"),
        "output": Place(outside=folder / "output", inside="/out/output", is_writable=True),
        "runs": Place(outside=folder / "runs", inside="/out/runs/1", is_writable=True),
        "recorder": Place(outside=RECORDER, inside="/recorder"),
    }
    environment = {"PYTHONHASHSEED": "0", **experiment.environment}
    if with_recorder:
        environment |= {"PYTHONPATH": "/recorder/inject", "HARNESS_RUN_DIR": "/out/runs/1", "HARNESS_FAULTS": "[]"}
    return Order(
        name="bench", argv=experiment.run, places=places, environment=environment, memory_bytes=8 << 30,
        timeout_s=1200, log=folder / "log.txt",
    )  # fmt: skip


def main() -> None:
    """Measure and print; also as JSON with `--json`."""
    store = open_store(None, os.environ)
    client = engine.ensure("auto", print)
    sandbox = ContainerSandbox(build(client, "cpu", ROOT, store, print).engine_id)
    rows = []
    for name, changes in (("plain", {}), ("plain, 300 steps", {"steps": 300, "save_every": 100})):
        text = (ROOT / "pipelines" / "experiments" / "plain.yaml").read_text()
        experiment = parse_experiment(text, "plain.yaml")
        experiment = experiment.model_copy(update={"config": {**experiment.config, **changes}})
        seconds = {True: [], False: []}
        recorder_ms = []
        for _ in range(NUM_ROUNDS):
            for with_recorder in (True, False):
                with tempfile.TemporaryDirectory() as scratch:
                    folder = Path(scratch)
                    folder.chmod(0o755)
                    started = time.monotonic()
                    outcome = sandbox.execute(order(folder, experiment, with_recorder=with_recorder), lambda: False)
                    seconds[with_recorder].append(time.monotonic() - started)
                    assert outcome.exit_code == 0, (folder / "log.txt").read_text()
                    if with_recorder:
                        lines = (folder / "runs" / "progress.jsonl").read_text().splitlines()
                        recorder_ms += [1000 * json.loads(line)["recorder_seconds"] for line in lines]
        bare, recorded = statistics.median(seconds[False]), statistics.median(seconds[True])
        rows.append((name, bare, recorded, recorded / bare, statistics.median(recorder_ms)))
    header = ("experiment", "bare run, s", "recorded run, s", "ratio", "recorder, ms a step")
    if "--json" in sys.argv:
        print(json.dumps([dict(zip(header, row, strict=True)) for row in rows]))
    else:
        print(tabulate(rows, headers=header, floatfmt=("", ".2f", ".2f", ".2f", ".1f")))


if __name__ == "__main__":
    main()
