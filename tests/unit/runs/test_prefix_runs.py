"""Prefixes with real processes: what ends them, who is stopped at a first difference, and what was never started."""

import dataclasses
import time

import pytest

from harness.documents.experiment import parse_experiment
from harness.documents.run import FIRST_DIFFERENCE
from harness.documents.scope import scope_of, shortened
from harness.runs.campaign import RERUN, RESUMED, STRAIGHT, plan_campaign, run_campaign
from harness.runs.divergence_monitor import DivergenceMonitor
from harness.runs.trajectory import run_interrupted, run_straight
from harness.runs.variation import variation_of
from tests.unit.runs.test_trajectory import context_of

EXPERIMENT = """
schema: 1
image: cpu
run: [python, job.py]
resume: [python, job.py]
steps: 1000
outputs: ["*.txt"]
interruptions: [{kind: after_step, step: 3}, {kind: before_write, step: 5}]
environment: {OMP_NUM_THREADS: "1"}
policy: {required: [rerun, resume]}
"""
#: Trains from step 1, or from step 2 after a resume; what it records in step 6 depends on the pace that it is told.
JOB = """
import json, os, time
own = os.environ["HARNESS_RUN_DIR"]
number, pace = own.rpartition("/")[2], json.loads(os.environ["HARNESS_VARY"])["pace"]

def write(name, **row):
    with open(f"{own}/{name}.jsonl", "a") as file:
        file.write(json.dumps(row) + chr(10))

for step in range(1 if number == "1" else 2, 1001):
    root = "b" if step == 6 and pace == DIFFERS_AT else "a"
    write("ledger", kind="step", step=step, streams={"param": root, "rng": own}, loss=[], lr=[])
    write("progress", step=step, loss=1.0)
    for fault in json.loads(os.environ["HARNESS_FAULTS"]):
        if fault["step"] == step and fault["kind"] in ("after_step", "stop"):
            write("events", kind="fault", fault=fault, waiting=False)
            os.kill(os.getpid(), 9)
    time.sleep(0.02)
"""


def prefix_of(tmp_path, steps=100, where=None):
    pace = "no pace" if where is None else variation_of(*where).pace
    context = context_of(tmp_path, JOB.replace("DIFFERS_AT", repr(pace)))
    declared = parse_experiment(EXPERIMENT, "x.yaml")
    scope = scope_of(declared, steps)
    monitor = DivergenceMonitor(STRAIGHT, RERUN)
    return dataclasses.replace(context, experiment=shortened(declared, scope), scope=scope, monitor=monitor)


@pytest.fixture(autouse=True)
def no_evidence(monkeypatch):
    """What these jobs write is no whole evidence, which would end the others after the straight run."""
    monkeypatch.setattr("harness.runs.campaign.early_problems", lambda *_: ())


def campaign(context, num_parallel=2):
    planned = plan_campaign(context.experiment, with_controls=False, cores=2)
    return run_campaign(context, dataclasses.replace(planned, num_parallel=num_parallel))


def last_step(context, trajectory, run):
    return len((context.folder / trajectory / "runs" / str(run) / "ledger.jsonl").read_text().splitlines())


def test_every_training_ends_after_the_last_step_of_the_prefix(tmp_path):
    context = prefix_of(tmp_path, steps=4)
    (record,) = run_straight(context, STRAIGHT)
    assert (record.exit_code, record.killed_by, record.is_planned_kill) == (137, "self", True)
    assert [(fault.kind, fault.step) for fault in record.faults] == [("stop", 4)]
    assert last_step(context, STRAIGHT, 1) == 4
    assert context.listener.told[-1] == ("kill", STRAIGHT, 1, "stop", 4)
    assert context.listener.told[0] == ("step", STRAIGHT, 1, 1, 4, 1.0)


def test_an_interrupted_training_is_resumed_after_its_kill_and_not_after_the_end_of_the_prefix(tmp_path):
    context = prefix_of(tmp_path, steps=7)
    records = run_interrupted(context, RESUMED)
    # No checkpoint is written, so the second kill does not come: the prefix ends that run.
    assert [[fault.kind for fault in record.faults] for record in records] == [
        ["after_step", "stop"],
        ["before_write", "stop"],
    ]
    assert [told[3:] for told in context.listener.told if told[0] == "kill"] == [("after_step", 3), ("stop", 7)]


def test_equal_trainings_run_to_the_end_of_the_prefix(tmp_path):
    context = prefix_of(tmp_path, steps=9)
    records = campaign(context)
    assert context.monitor.found is None
    assert {name: [one.killed_by for one in runs] for name, runs in records.items()} == {
        STRAIGHT: ["self"],
        RERUN: ["self"],
        RESUMED: ["self", "self"],
    }


@pytest.mark.parametrize("num_parallel", [1, 2])
def test_a_second_straight_run_that_differs_stops_all_and_nothing_is_interrupted(tmp_path, num_parallel):
    context = prefix_of(tmp_path, where=(RERUN, 1))
    started = time.monotonic()
    records = campaign(context, num_parallel)
    assert (context.monitor.found.trajectory, context.monitor.found.step) == (RERUN, 6)
    assert RESUMED not in records and not (context.folder / RESUMED).exists()
    assert records[RERUN][0].killed_by == FIRST_DIFFERENCE and records[RERUN][0].was_stopped_early
    assert last_step(context, RERUN, 1) < 100
    assert last_step(context, STRAIGHT, 1) == 100 if num_parallel == 1 else last_step(context, STRAIGHT, 1) < 100
    assert time.monotonic() - started < 60
    assert ("kill", RERUN, 1, "first_difference", 6) in context.listener.told


def test_a_resumed_run_that_differs_is_stopped_and_the_straight_run_goes_on(tmp_path):
    context = prefix_of(tmp_path, where=(RESUMED, 2))
    records = campaign(context, num_parallel=3)
    assert (context.monitor.found.trajectory, context.monitor.found.run, context.monitor.found.step) == (RESUMED, 2, 6)
    assert [one.was_stopped_early for one in records[RESUMED]] == [False, True]
    assert last_step(context, RESUMED, 2) < 99
    assert last_step(context, STRAIGHT, 1) == 100 and not records[STRAIGHT][0].was_stopped_early
    assert 6 <= last_step(context, RERUN, 1) <= 100


def test_a_process_that_trains_behind_the_prefix_is_ended_from_outside(tmp_path):
    context = prefix_of(tmp_path, steps=4)
    job = context.code / "job.py"
    job.write_text(job.read_text().replace('"after_step", "stop"', '"nothing",'))
    (record,) = run_straight(context, STRAIGHT)
    assert (record.exit_code, record.killed_by) == (137, "outside")
    assert 4 < last_step(context, STRAIGHT, 1) < 1000


def test_a_whole_training_is_given_no_stop_and_is_not_looked_after(tmp_path):
    context = dataclasses.replace(prefix_of(tmp_path), scope=None, monitor=None)
    assert context.stops == () and not context.is_over(STRAIGHT)
