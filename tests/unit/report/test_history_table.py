"""The history and a bisection as text: what changed stands out, and nothing hostile reaches the terminal."""

import io

import pytest

from harness.documents.bisection import CommitBisection, LockBisection
from harness.documents.history import (
    Change,
    Figures,
    FileChange,
    History,
    LedgerDifference,
    PastRun,
    PinChange,
    ValueChange,
)
from harness.report.history import print_bisection, print_history

RECORD = PastRun(
    run_id="r1",
    date="2026-11-23T16:05:43Z",
    source="runs",
    kind="certify",
    verdict="CERTIFIED",
    scope="",
    commit="c" * 40,
    dirty=False,
    runner="docker",
    image_id="sha256:" + "1" * 64,
    machine="One",
    figures=Figures(steps=24, last_loss=3.1384021, seconds=16.0),
)
CHANGE = Change(
    before="r1",
    after="r2",
    num_commits=0,
    values=(),
    image=None,
    numbers_equal=True,
    different_outputs=(),
    causes=(),
)
WHERE = {"phase": "step", "step": 4, "stream": "data", "tensor": "1.input", "micro_batch": 1, "note": ""}
TRIAL = {"label": "abc five", "folder": "abc", "answer": "different", "num_steps": 4, "where": WHERE, "reason": ""}
BOTH = {
    "experiment": "x",
    "steps": None,
    "runner": "docker",
    "trials": [TRIAL],
    "num_trials": 1,
    "notes": [],
    "num_changes": 1,
    "folder": "runs/x/bisect-1",
    "outcome": "found",
    "reference": {"source": "trained now", "steps": 6},
    "first_difference": WHERE,
}
COMMITS = {
    "good": "c" * 40,
    "bad": "e" * 40,
    "last_good": "c" * 40,
    "num_files": 1,
    "files": [{"path": "train.py", "added": 1, "removed": 2}],
    "candidates": [{"commit": "d" * 40, "subject": "five"}],
    "first_bad": {"commit": "d" * 40, "subject": "five", "num_parents": 1},
}
LOCKS = {"commit": "c" * 40, "image": "cpu", "changes": [], "num_unresolved": 0}


def history(**fields):
    """What is printed of two runs, the second with other fields, and of what changed between them."""
    change = {name: value for name, value in fields.items() if name in Change.model_fields}
    record = {name: value for name, value in fields.items() if name not in change}
    records = (RECORD, RECORD.model_copy(update={"run_id": "r2", **record}))
    changes = (CHANGE.model_copy(update=change),)
    stream = io.StringIO()
    print_history(History(experiment="x", records=records, changes=changes, left_out=()), stream)
    return stream.getvalue()


def bisection(**fields):
    stream = io.StringIO()
    kind, rest = (LockBisection, LOCKS) if "responsible" in fields else (CommitBisection, COMMITS)
    print_bisection(kind.from_json({**BOTH, **rest, **fields}, "bisect.json"), stream)
    return stream.getvalue()


def test_every_record_has_a_row_with_its_figures():
    rows = [row for row in history().splitlines() if "2026-11-23 16:05:43" in row]
    assert len(rows) == 2
    for word in ("cccccccccccc", "CERTIFIED", "docker", "111111111111", "24", "3.1384021", "16 s"):
        assert word in rows[0]
    assert "same" in rows[1] and "same" not in rows[0]


def test_a_prefix_a_replay_and_uncommitted_code_are_marked():
    text = history(scope="the first 3 of 24 steps", kind="replay", dirty=True)
    assert "CERTIFIED (replay, the first 3 of 24 steps)" in text and "cccccccccccc+" in text


def test_a_number_that_changed_though_nothing_did_stands_out_in_table_and_text():
    text = history(numbers_equal=False)
    assert "CHANGED (!)" in text and "1 -> 2: !! the numbers changed, and nothing" in text
    assert "!!" not in history(numbers_equal=False, causes=("code",))


def test_what_changed_is_listed():
    text = history(
        numbers_equal=False,
        causes=("code", "lock"),
        image=("sha256:" + "1" * 64, ""),
        values=(ValueChange(path="experiment.config.lr", before="0.1", after=None),),
        first_difference=LedgerDifference(phase="step", step=3, stream="grad"),
        num_commits=2,
        subjects=("abc one", "def two"),
        files=(
            FileChange(path="train.py", added=3, removed=1),
            FileChange(path="x.bin", added=None, removed=None),
        ),
        num_other_files=5,
        pins=(
            PinChange(name="torch", before="2.12", after="2.13"),
            PinChange(name="new", before=None, after="1"),
        ),
    )
    for line in (
        "1 -> 2: the numbers changed; changed: code of the experiment, pinned packages",
        "first difference: step 3, stream grad",
        "2 commits in between:",
        "abc one",
        "file: train.py +3 -1",
        "file: x.bin (binary)",
        "5 other files that it is not known to use",
        "lock: torch 2.12 -> 2.13",
        "lock: new not locked -> 1",
        "image: sha256:111111111111 -> none",
        "experiment.config.lr: 0.1 -> (none)",
    ):
        assert line in text


def test_a_terminal_is_sent_no_control_characters():
    hostile = "\x1b[31mred\u202e"
    text = history(subjects=(hostile,), num_commits=1, verdict=hostile, runner=hostile)
    text += bisection(notes=[hostile], first_bad={"commit": hostile, "subject": hostile, "num_parents": 1})
    assert "\x1b" not in text and "\u202e" not in text and "x1b" in text


def test_a_commit_that_was_found_is_the_last_line():
    text = bisection()
    assert text.splitlines()[-1] == "FOUND: dddddddddddd five"
    assert "first difference: step 4, micro-batch 1, stream data, tensor 1.input" in text
    assert "file: train.py +1 -2" in text and "reference: trained now, 6 steps" in text


def test_a_range_names_every_commit_that_may_be_it():
    candidates = [{"commit": digit * 40, "subject": f"number {digit}"} for digit in "ab"]
    text = bisection(outcome="range", candidates=candidates)
    assert text.splitlines()[-1] == "RANGE: one of 2 commits up to dddddddddddd"
    assert "may be it: aaaaaaaaaaaa number a" in text


@pytest.mark.parametrize(("outcome", "word"), [("found", "FOUND"), ("range", "RANGE")])
def test_responsible_pins_are_the_last_line(outcome, word):
    pins = [{"name": "idna", "before": "3.4", "after": "3.20"}, {"name": "x", "before": None, "after": "1"}]
    counts = {"num_changes": 9, "num_inconsistent": 2, "num_unresolved": 0}
    text = bisection(responsible=pins, outcome=outcome, **counts)
    assert text.splitlines()[-1] == f"{word}: idna 3.4 -> 3.20, x not locked -> 1"
    assert "9 pins differ; 2 mixes were not tried" in text
