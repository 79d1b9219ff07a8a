"""What one training says when it is held against the reference."""

import json
from dataclasses import replace

import pytest

from harness.documents.bisection import FirstDifference, TrialResult
from harness.errors import TamperedError
from harness.history.trial import judge_trial
from tests.made.synthetic import STEPS, Quirks, straight


@pytest.fixture(scope="module")
def reference():
    return straight()


def without_ledger(trajectory):
    return replace(trajectory, runs=(replace(trajectory.runs[0], ledger=None, problem="it left no ledger"),))


def cut(trajectory, steps, *, is_over=False):
    """The training as if it had done fewer steps; `is_over` says that it came to its own end there."""
    ledger = trajectory.runs[0].ledger
    end = replace(ledger.end, step=steps) if is_over else None
    evals = tuple(one for one in ledger.evals if one.step <= steps)
    ledger = replace(ledger, steps=ledger.steps[:steps], end=end, evals=evals)
    return replace(trajectory, runs=(replace(trajectory.runs[0], ledger=ledger, sidecar=None),), files=())


def test_equal_bits_are_the_same_and_the_steps_are_counted(reference):
    assert judge_trial(reference, straight()) == TrialResult(answer="same", num_steps=STEPS)


@pytest.mark.parametrize("stream", ["data", "grad", "param"])
def test_a_difference_is_told_with_its_step_stream_and_tensor(reference, stream):
    found = judge_trial(reference, straight(quirks=Quirks(noise=(3, stream))))
    assert found.answer == "different"
    assert (found.where.phase, found.where.step, found.where.stream) == ("step", 3, stream)
    assert found.where.tensor is not None and str(found.where).startswith("step 3, ")
    assert f"stream {stream}, tensor " in str(found.where)


def test_a_prefix_is_compared_as_far_as_it_goes(reference):
    late = straight(quirks=Quirks(noise=(5, "grad")))
    assert judge_trial(reference, cut(late, 4)) == TrialResult(answer="same", num_steps=4)
    assert judge_trial(reference, cut(late, 5)).where.step == 5


def test_a_difference_counts_though_the_training_failed_later_and_a_failure_alone_says_nothing(reference):
    noisy, clean = cut(straight(quirks=Quirks(noise=(3, "loss"))), 5), cut(straight(), 5)
    assert judge_trial(reference, noisy, ("it ended with 1",)).answer == "different"
    found = judge_trial(reference, clean, ("it ended with 1",))
    assert (found.answer, found.reason, found.num_steps) == ("unresolved", "it ended with 1", 5)


def test_what_the_program_said_last_is_part_of_the_reason(reference):
    problems = ("straight/1 ended with exit code 1", "straight/1 ended with 1\nTraceback ...\nImportError: no x\n")
    found = judge_trial(reference, without_ledger(straight()), problems)
    assert found.reason == "straight/1 ended with exit code 1: ImportError: no x"


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize(
    ("happened", "is_lasting"),
    [
        ({"exit_code": 1}, True),
        ({"exit_code": -1, "error": "the engine failed: it does not answer"}, False),
        ({"exit_code": 137, "error": "it was ended after 60 s"}, False),
        ({"exit_code": 137, "oom_killed": True}, False),
        ({"exit_code": 137}, False),
    ],
)
def test_what_did_not_come_from_the_program_is_tried_again(reference, steps, happened, is_lasting):
    trial = cut(straight(), steps) if steps else without_ledger(straight())
    (run,) = trial.runs
    trial = replace(trial, runs=(replace(run, record=run.record.model_copy(update=happened)),))
    found = judge_trial(reference, trial, ("it failed",))
    assert (found.answer, found.is_lasting) == ("unresolved", is_lasting)


def test_without_a_ledger_nothing_is_said(reference):
    found = judge_trial(reference, without_ledger(straight()))
    assert (found.answer, found.reason) == ("unresolved", "it left no ledger")
    assert judge_trial(reference, cut(straight(), 0)).answer == "unresolved"


def test_a_training_that_is_over_earlier_or_later_is_different(reference):
    shorter = judge_trial(reference, cut(straight(), 6, is_over=True))
    assert (shorter.answer, shorter.where.step) == ("different", 7)
    ended_by_us = judge_trial(reference, cut(straight(), 6), is_over=True)
    assert (ended_by_us.answer, ended_by_us.where.step) == ("different", 7)
    failed = judge_trial(reference, cut(straight(), 6), ("it ended with 1",), is_over=True)
    assert failed.answer == "unresolved"
    longer = judge_trial(cut(reference, 6, is_over=True), straight())
    assert (longer.answer, longer.where.step) == ("different", 7)


def test_a_stream_that_only_one_of_them_has_is_a_difference(reference):
    trial = straight()
    ledger = trial.runs[0].ledger
    blind = [replace(one, streams={k: v for k, v in one.streams.items() if k != "buffer"}) for one in ledger.steps]
    ledger = replace(ledger, steps=(*ledger.steps[:3], *blind[3:]))
    found = judge_trial(reference, replace(trial, runs=(replace(trial.runs[0], ledger=ledger, sidecar=None),)))
    assert found.answer == "different"
    assert (found.where.step, found.where.stream, found.where.note) == (4, "buffer", "only one of the two has it")


def test_files_that_differ_alone_are_a_difference(reference):
    trial = straight()
    other = straight(quirks=Quirks(noise=(STEPS, "param"))).files
    found = judge_trial(reference, replace(trial, files=other))
    assert found.answer == "different" and found.where.phase == "file" and str(found.where).startswith("the file ")
    assert judge_trial(reference, replace(trial, files=())).answer == "same", "a published record has no files"


@pytest.mark.parametrize(
    "result",
    [
        TrialResult(answer="same", num_steps=3),
        TrialResult(answer="unresolved", reason="no wheel", is_lasting=False),
        TrialResult(
            answer="different",
            num_steps=3,
            where=FirstDifference(phase="step", step=2, stream="loss", micro_batch=1),
        ),
    ],
)
def test_a_trial_is_read_back_as_it_was_kept(result):
    assert TrialResult.load(result.write(), "x") == result


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"answer": "good", "where": None},
        {"answer": "different", "where": None},
        {"answer": "same", "where": {"phase": "step", "step": 1, "stream": "loss"}},
        {"answer": "same", "where": {"phase": "step"}},
        {"answer": "different", "where": {"phase": "step"}},
    ],
)
def test_what_is_no_trial_is_refused(value):
    with pytest.raises(TamperedError):
        TrialResult.load(json.dumps(value).encode(), "x")
