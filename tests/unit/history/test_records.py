"""Records read from documents that anybody may have written, and what changed between two of them."""

import copy
import dataclasses

import pytest

from harness.history.lock_changes import PinChange
from harness.history.records import Between, FileChange, FirstDifference, changed_values, compare, read_record
from tests.made.synthetic import STEPS, straight

RUN = "20261123T160543Z-c0acdde-3f16"
VERDICT = {"verdict": "CERTIFIED", "commit": "c" * 40, "dirty": False, "runner": "docker", "scope": None}
MANIFEST = {
    "commit": "c" * 40,
    "dirty": False,
    "runner": "docker",
    "code": {"sha256": "sha256:1"},
    "harness": {"version": "0.1.0", "recorder": "sha256:r"},
    "image": {"id": "sha256:i"},
    "experiment": {"steps": 8, "config": {"lr": 0.1}, "description": "words"},
    "prepared": {"a": "sha256:p"},
    "environment": {"host": {"cpu": "One", "cores": 2, "gpus": [{"name": "RTX 4090"}]}},
    "trajectories": {
        "straight": {
            "ledgers": ["sha256:h"],
            "files": {
                "m.safetensors": {"role": "output", "content": "sha256:o"},
                "c.pt": {"role": "checkpoint", "content": "sha256:c"},
            },
        }
    },
    "volatile": {"runs": [{"run": "straight/1", "seconds": 12.5}]},
}


def changed(*path, value):
    """The manifest with another value at a path."""
    manifest = copy.deepcopy(MANIFEST)
    table = manifest
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    return manifest


def record(manifest=None, ledger=None, **verdict):
    return read_record(RUN, "runs", {**VERDICT, **verdict}, MANIFEST if manifest is None else manifest, ledger)


def test_a_record_tells_what_people_look_at_first():
    ledger = straight().runs[0].ledger
    found = record(ledger=ledger)
    assert (found.date, found.kind, found.verdict) == ("2026-11-23T16:05:43Z", "certify", "CERTIFIED")
    assert (found.runner, found.image_id, found.machine) == ("docker", "sha256:i", "One, 2 cores, RTX 4090")
    assert found.outputs == {"m.safetensors": "sha256:o"} and found.ledger_head == "sha256:h"
    assert (found.figures.steps, found.figures.seconds) == (STEPS, 12.5)
    assert found.figures.last_loss == sum(float.fromhex(one) for one in ledger.steps[-1].loss)
    assert "manifest" not in found.to_json()


def test_a_prefix_and_a_replay_are_marked():
    found = record(scope={"steps": 3, "of": 8}, kind="replay")
    assert (found.scope, found.kind) == ("the first 3 of 8 steps", "replay")


@pytest.mark.parametrize("junk", [None, 3, "x", [], {"x": 1}, [None], {"steps": "1"}, 1e400, -(10**30), True])
@pytest.mark.parametrize(
    "path",
    [
        ("trajectories",),
        ("trajectories", "straight"),
        ("trajectories", "straight", "ledgers"),
        ("environment",),
        ("trajectories", "straight", "files"),
        ("experiment",),
        ("volatile",),
        ("volatile", "runs"),
        ("image",),
        ("environment", "host", "gpus"),
        ("harness",),
        ("code",),
        ("scope",),
        ("prepared",),
    ],
)
def test_a_field_of_a_wrong_type_is_an_absent_one(path, junk):
    other = record(changed(*path, value=junk))
    compare(record(), other, Between()).to_json()
    compare(other, record(), Between()).to_json()


def test_nothing_changed_and_the_numbers_are_the_same():
    found = compare(record(), record(), Between(num_commits=0))
    assert (found.numbers_equal, found.causes, found.values, found.is_unexplained) == (True, (), (), False)


OTHER = changed("trajectories", "straight", "ledgers", value=["sha256:x"])


def test_numbers_that_changed_though_nothing_did_are_marked():
    first = FirstDifference(step=3, stream="grad", phase="step")
    found = compare(record(), record(OTHER), Between(num_commits=0, num_steps=8, first_difference=first))
    assert found.numbers_equal is False and found.causes == () and found.is_unexplained
    assert found.to_json()["is_unexplained"] is True and found.to_json()["first_difference"]["step"] == 3


def test_files_that_the_experiment_is_not_known_to_use_explain_nothing():
    manifest = {**OTHER, "code": {"sha256": "sha256:2"}}
    found = compare(record(), record(manifest), Between(num_commits=1, num_other_files=3))
    assert found.causes == ("other files",) and found.is_unexplained


@pytest.mark.parametrize(
    ("manifest", "between", "cause"),
    [
        ({}, Between(files=(FileChange(path="train.py", added=1, removed=0),)), "code"),
        ({}, Between(pins=(PinChange(name="torch", before="1", after="2"),)), "lock"),
        ({"image": {"id": "sha256:j"}}, Between(), "image"),
        ({"experiment": {"steps": 8, "config": {"lr": 0.2}}}, Between(), "experiment"),
        ({"prepared": {"a": "sha256:q"}}, Between(), "prepared inputs"),
        ({"environment": {"host": {"cpu": "Two"}}}, Between(), "environment"),
        ({"harness": {"version": "0.1.0", "recorder": "sha256:s"}}, Between(num_steps=8), "recorder"),
    ],
)
def test_whatever_changed_is_named_and_may_explain_the_numbers(manifest, between, cause):
    first = FirstDifference(step=1, stream="loss", phase="step")
    between = dataclasses.replace(between, num_steps=8, first_difference=first)
    found = compare(record(), record({**OTHER, **manifest}), between)
    assert found.causes == (cause,) and found.numbers_equal is False and not found.is_unexplained


def test_uncommitted_changes_may_explain_the_numbers():
    found = compare(record(), record({**OTHER, "code": {"sha256": "sha256:2"}}, dirty=True), Between())
    assert found.causes == ("uncommitted changes",) and not found.is_unexplained


def test_ledgers_that_are_not_at_hand_are_judged_by_their_heads_where_these_can_be_compared():
    no_files = changed("trajectories", "straight", "files", value={})
    other = {**no_files, "trajectories": {"straight": {"ledgers": ["sha256:x"], "files": {}}}}
    assert compare(record(no_files), record(other), Between()).numbers_equal is False
    of_another_recorder = {**other, "harness": {"recorder": "sha256:s"}}
    assert compare(record(no_files), record(of_another_recorder), Between()).numbers_equal is None
    prefix = record(other, scope={"steps": 3, "of": 8})
    assert compare(record(no_files), prefix, Between()).numbers_equal is None
    assert compare(record(no_files), prefix, Between(num_steps=3)).numbers_equal is True


def test_outputs_that_differ_are_named():
    files = {"m.safetensors": {"role": "output", "content": "sha256:z"}, "n": {"role": "output", "content": "sha256:n"}}
    found = compare(record(), record(changed("trajectories", "straight", "files", value=files)), Between())
    assert found.different_outputs == ("m.safetensors", "n") and found.numbers_equal is False


def test_values_are_told_with_their_path_and_the_description_is_none():
    after = changed("experiment", "config", value={"lr": 0.2, "new": [1, 2]})
    after["experiment"]["description"] = "other words"
    found = changed_values(MANIFEST, after, "experiment")
    assert [(one.path, one.before, one.after) for one in found] == [
        ("experiment.config.lr", "0.1", "0.2"),
        ("experiment.config.new", None, "[1, 2]"),
    ]
