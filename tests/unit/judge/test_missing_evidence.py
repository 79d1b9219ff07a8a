"""Whatever is missing becomes words: no evidence, however incomplete, makes `judge` raise."""

import random
from dataclasses import replace

import pytest

from harness.documents.run import Fault
from harness.judge.verdict import judge
from tests.made.synthetic import Quirks, case, resumed, straight

KILLS = (Fault(kind="after_step", step=3), Fault(kind="after_step", step=7))
NOISES = (None, (2, "loss"), (5, "grad"), (7, "param"))


def dropped(chance: random.Random, trajectory):
    """The trajectory with some of its evidence gone."""
    runs = []
    for run in trajectory.runs:
        if chance.random() < 0.1:
            break
        ledger = run.ledger
        if ledger is not None and chance.random() < 0.4:
            ledger = replace(ledger, end=chance.choice([None, ledger.end]))
            steps = ledger.steps[: chance.randint(0, len(ledger.steps))]
            gone = chance.choice(["", "param", "optim", "rng", "loss", "data"])
            steps = tuple(replace(s, streams={k: v for k, v in s.streams.items() if k != gone}) for s in steps)
            streams = {k: v for k, v in ledger.start.streams.items() if chance.random() < 0.8}
            start = replace(ledger.start, streams=streams, counts={}, step=chance.choice([0, ledger.start.step]))
            ledger = replace(ledger, steps=steps, start=start)
        record = run.record.model_copy(
            update={
                "exit_code": chance.choice([run.record.exit_code] * 4 + [0, 1, 86, 137, 139]),
                "oom_killed": chance.random() < 0.05,
                "killed_by": chance.choice([run.record.killed_by] * 4 + [None, "at the first difference"]),
                "error": chance.choice([None] * 9 + ["the engine died"]),
            }
        )
        run = replace(
            run,
            record=record,
            ledger=chance.choice([ledger] * 5 + [None]),
            sidecar=chance.choice([run.sidecar] * 4 + [None]),
            events=tuple(event for event in run.events if chance.random() < 0.9),
            ledger_bytes=chance.choice([run.ledger_bytes] * 5 + [b""]),
        )
        runs.append(run)
    files = tuple(
        replace(file, content=chance.choice([file.content] * 4 + [None]), sha256=chance.choice([file.sha256, None]))
        for file in trajectory.files
        if chance.random() < 0.8
    )
    return replace(trajectory, runs=tuple(runs), files=files)


FORGOTTEN = ((), ("rng",), ("params",), ("everything",))
STRAIGHT = straight()
RERUNS = [straight("rerun", Quirks(noise=noise)) for noise in NOISES]
RESUMED = [resumed(KILLS, quirks=Quirks(forget=names)) for names in FORGOTTEN]


def made(chance: random.Random):
    found = {"straight": STRAIGHT, "rerun": chance.choice(RERUNS), "resumed": chance.choice(RESUMED)}
    changed = {name: chance.choice([dropped(chance, one)] * 5 + [None]) for name, one in found.items()}
    logs = {f"resumed/{n}": "ended\n  | KeyError: 1" for n in (2, 3) if chance.random() < 0.5}
    return case(**changed, interruptions=KILLS, log_ends=logs)


@pytest.mark.parametrize("seed", range(20))
def test_judge_never_raises(seed):
    chance = random.Random(seed)
    for _ in range(10):
        inputs = made(chance)
        verdict = judge(inputs)
        assert verdict.summary and verdict.not_checked
        if verdict.verdict == "CERTIFIED":
            checks = (verdict.checks.rerun, verdict.checks.resume)
            assert any(check.verdict == "CERTIFIED" and check.compared.steps for check in checks)
        if verdict.verdict not in ("CERTIFIED", "DIVERGED"):
            assert verdict.problems
