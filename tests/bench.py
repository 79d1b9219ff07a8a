"""What a run costs beyond its bare training: `make bench`. Ratios of runs that alternate within one session.

For each experiment the same training runs in the same image and the same hardened container, with the recorder and
without it, in turns (ROUNDS of them, 3 unless the environment says otherwise). Reported are medians of the whole
process's wall time, and what the recorder says it took of each step.
"""

import dataclasses
import json
import os
import statistics
import sys
import tempfile
import threading
from pathlib import Path

from harness.documents.digest import canonical_json, sha256
from harness.images.builder import build
from harness.inputs.fetch import fetch_input
from harness.report.printer import text_table
from harness.runs.container import ContainerSandbox
from harness.runs.context import RunContext
from harness.runs.preparation import prepare
from harness.runs.trajectory import run_straight
from harness.system import engine
from harness.system.project import read_experiment
from harness.system.store import open_store
from harness.workflow.training import RECORDER
from tests import ROOT

NUM_ROUNDS = int(os.environ.get("ROUNDS", "3"))
LONG = {"steps": 300, "save_every": 100}
HEADER = ("training", "bare run, s", "recorded run, s", "ratio", "step, ms", "of it the recorder, ms")


class Quiet:
    """Nobody is told of steps and kills."""

    def step(self, *what):
        pass

    def kill(self, *what):
        pass


def say(text):
    print(f"  {text}", file=sys.stderr)


def context_of(name, changes, store, sandbox, folder):
    """An experiment with a changed configuration, ready to run from this working tree."""
    experiment = read_experiment(ROOT, name)
    experiment = experiment.model_copy(update={"config": {**experiment.config, **changes}})
    folder.mkdir()
    config = folder / "config.json"
    config.write_bytes(canonical_json(experiment.config))
    inputs = {key: fetch_input(value.named(key), store, ROOT, say) for key, value in experiment.inputs.items()}
    context = RunContext(
        experiment=experiment,
        name=name,
        run_id="bench",
        commit="0" * 40,
        sandbox=sandbox,
        folder=folder,
        code=ROOT,
        config=config,
        recorder=RECORDER,
        inputs=inputs,
        prepared=None,
        listener=Quiet(),
        cancel=threading.Event(),
    )
    if experiment.prepare:
        tree, _ = prepare(context, store, sha256(canonical_json(["bench", experiment.to_json()])))
        context = dataclasses.replace(context, prepared=tree)
    return context


def measure(label, context):
    """One row: medians over rounds of a bare and a recorded run."""
    nothing = context.folder / "nothing"
    nothing.mkdir()
    bare_setting = dataclasses.replace(context, recorder=nothing)  # nothing is injected from an empty folder
    bare, recorded, steps, shares = [], [], [], []
    for number in range(NUM_ROUNDS):
        for chosen, kind, seconds in ((bare_setting, "bare", bare), (context, "recorded", recorded)):
            record = run_straight(chosen, f"{kind}-{number}")[0]
            assert record.exit_code == 0, (context.folder / f"{kind}-{number}" / "log-1.txt").read_text()
            seconds.append(record.seconds)
        assert not (context.folder / f"bare-{number}" / "runs" / "1" / "ledger.jsonl").exists()
        rows = (context.folder / f"recorded-{number}" / "runs" / "1" / "progress.jsonl").read_text().splitlines()
        steps += [1000 * json.loads(row)["seconds"] for row in rows]
        shares += [1000 * json.loads(row)["recorder_seconds"] for row in rows]
    plain, full = statistics.median(bare), statistics.median(recorded)
    return label, plain, full, full / plain, statistics.median(steps), statistics.median(shares)


def main():
    store, client = open_store(None, os.environ), engine.ensure("auto", say)
    sandbox = ContainerSandbox(build(client, "cpu", ROOT, store, say).engine_id)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch).chmod(0o755)
        for label, name, changes in (("plain", "plain", {}), ("plain, 300 steps", "plain", LONG), ("tiny", "tiny", {})):
            say(f"measuring {label}")
            rows.append(measure(label, context_of(name, changes, store, sandbox, Path(scratch) / label)))
    if "--json" in sys.argv:
        print(json.dumps([dict(zip(HEADER, row, strict=True)) for row in rows]))
    else:
        print(text_table([(row[0], *(f"{value:.2f}" for value in row[1:])) for row in rows], HEADER))


if __name__ == "__main__":
    main()
