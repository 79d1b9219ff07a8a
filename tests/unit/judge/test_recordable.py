"""Trainings that cannot be recorded are told in one sentence, with the remedy, and are never certified."""

from dataclasses import replace

import pytest

from harness.evidence.ledger import Event
from harness.judge.recordable import why_not_recorded
from harness.judge.verdict import judge
from tests.made.synthetic import case, straight


def run_of(*events, argv=("python", "train.py"), ledger=None, **changes):
    run = straight().runs[0]
    record = run.record.model_copy(update={"argv": argv, **changes})
    return replace(run, record=record, events=events, ledger=ledger, ledger_bytes=b"", problem="left no ledger")


def without_steps():
    ledger = straight().runs[0].ledger
    assert ledger is not None
    return replace(ledger, steps=())


def process(**versions):
    return Event(kind="process", fields={"versions": {"python": "3.11", **versions}})


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (run_of(argv=("/usr/bin/python3", "-I", "train.py")), "started with -I"),
        (run_of(argv=("env", "X=1", "python", "-uE", "train.py")), "started with -uE"),
        (run_of(argv=("python", "train.py", "-I")), "PYTHONPATH=src:$PYTHONPATH"),
        (run_of(argv=("bash", "run.sh")), "PYTHONPATH=src:$PYTHONPATH"),
        (run_of(process()), "never imported torch"),
        (run_of(process(jax="0.4")), "trains with jax"),
        (run_of(process(torch="2.9")), "no torch optimizer; declare each update in two lines"),
        (run_of(process(torch="2.9"), Event(kind="optimizer", fields={})), "made no step that torch's hooks see"),
        (
            run_of(process(torch="2.9"), ledger=without_steps()),
            "no torch optimizer; declare each update in two lines",
        ),
    ],
)
def test_the_kind_is_named_with_what_to_do(run, words):
    assert words in why_not_recorded(run)
    verdict = judge(case(straight=replace(straight(), runs=(run,)), rerun=None, resumed=None))
    assert verdict.verdict == "INCONCLUSIVE"
    assert words in verdict.summary and "left no ledger" not in "".join(verdict.problems)


@pytest.mark.parametrize("change", [{"exit_code": 1}, {"exit_code": 137, "killed_by": "self"}])
def test_a_run_that_failed_has_reasons_of_its_own(change):
    faults = straight().runs[0].record.faults
    assert why_not_recorded(run_of(process(torch="2.9"), faults=faults, **change)) is None


def test_a_recorded_run_is_none_of_them():
    assert why_not_recorded(straight().runs[0]) is None
    assert why_not_recorded(run_of(process(torch="2.9"), Event(kind="recorder_error", fields={}))) is None
