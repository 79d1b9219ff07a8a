"""The folder of a bisection: answers are kept, half-made trials are not, and nothing heavy stays."""

import json

import pytest

from harness.documents.bisection import FirstDifference, TrialResult
from harness.history.trial_folder import TrialFolder, trial_key

QUESTION = {"kind": "commits", "good": "a", "bad": "b"}
DIFFERENT = TrialResult(answer="different", num_steps=4, where=FirstDifference(phase="step", step=4, stream="data"))


@pytest.fixture
def trials(tmp_path):
    return TrialFolder.open(tmp_path, QUESTION)


def test_the_same_question_opens_the_same_folder_and_another_another(trials, tmp_path):
    assert TrialFolder.open(tmp_path, dict(reversed(QUESTION.items()))) == trials
    assert TrialFolder.open(tmp_path, {**QUESTION, "bad": "c"}) != trials
    assert json.loads((trials.folder / "question.json").read_text()) == QUESTION


def test_an_answer_is_read_back_and_what_may_change_is_asked_again(trials):
    assert trials.read("k") is None
    trials.keep("k", DIFFERENT)
    assert trials.read("k") == DIFFERENT
    trials.keep("k", TrialResult(answer="unresolved", reason="no engine", is_lasting=False))
    assert trials.read("k") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"answer": "different"}', "\0"])
def test_a_torn_answer_is_none(trials, text):
    (trials.folder / "trials" / "k.json").write_text(text)
    assert trials.read("k") is None


def test_a_key_depends_on_everything_it_is_given():
    keys = {trial_key({"a": 1}), trial_key({"a": 2}), trial_key({"b": 1}), trial_key({"a": 1, "b": None})}
    assert len(keys) == 4 and trial_key({"a": 1, "b": 2}) == trial_key({"b": 2, "a": 1})


def test_what_an_interrupted_trial_left_is_gone_before_the_next(trials):
    folder = trials.work("abc")
    (folder / "straight").mkdir()
    (folder / "straight" / "half").write_text("x")
    assert list(trials.work("abc").iterdir()) == []


def test_the_evidence_stays_and_the_rest_goes(trials):
    folder = trials.work("abc")
    evidence = "straight/runs/1/ledger.jsonl"
    for name in ("code/a.py", "inputs/x", "straight/output/w.safetensors", evidence, "config.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    TrialFolder.lighten(folder)
    left = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert left == [evidence]
