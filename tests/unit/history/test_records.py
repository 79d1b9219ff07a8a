"""Records read from documents that anybody may have written, and what changed between two of them."""

import copy

import pytest

from harness.documents.history import Between, FileChange, LedgerDifference, PinChange
from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict
from harness.history.records import compare, read_record
from tests.made.past_run import MANIFEST, RUN, VERDICT, file
from tests.made.synthetic import STEPS, straight


def changed(*path, value):
    """The manifest with another value at a path."""
    manifest = copy.deepcopy(MANIFEST)
    table = manifest
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    return manifest


def record(manifest=None, ledger=None, **verdict):
    documents = {**VERDICT, **verdict}, MANIFEST if manifest is None else manifest
    return read_record(RUN, "runs", Verdict.from_json(documents[0], "v"), Manifest.from_json(documents[1], "m"), ledger)


def test_a_record_tells_what_people_look_at_first():
    ledger = straight().runs[0].ledger
    found = record(ledger=ledger).run
    assert (found.date, found.kind, found.verdict) == ("2026-11-23T16:05:43Z", "certify", "CERTIFIED")
    assert (found.runner, found.image_id, found.machine) == ("docker", "sha256:i", "One, 2 cores, RTX 4090")
    assert found.outputs == {"m.safetensors": "sha256:o"} and found.ledger_head == "sha256:h"
    assert (found.figures.steps, found.figures.seconds) == (STEPS, 12.5)
    assert found.figures.last_loss == sum(float.fromhex(one) for one in ledger.steps[-1].loss)


def test_a_prefix_and_a_replay_are_marked():
    found = record(scope={"steps": 3, "of": 8}, kind="replay").run
    assert (found.scope, found.kind) == ("the first 3 of 8 steps", "replay")


def test_nothing_changed_and_the_numbers_are_the_same():
    found = compare(record(), record(), Between(num_commits=0))
    assert (found.numbers_equal, found.causes, found.values, found.is_unexplained) == (True, (), (), False)


OTHER = changed("trajectories", "straight", "ledgers", value=["sha256:x"])


def test_numbers_that_changed_though_nothing_did_are_marked():
    first = LedgerDifference(step=3, stream="grad", phase="step")
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
        ({"environment": {**MANIFEST["environment"], "host": {"cpu": "Two"}}}, Between(), "environment"),
        ({"harness": {"version": "0.1.0", "recorder": "sha256:s"}}, Between(num_steps=8), "recorder"),
    ],
)
def test_whatever_changed_is_named_and_may_explain_the_numbers(manifest, between, cause):
    first = LedgerDifference(step=1, stream="loss", phase="step")
    between = between.model_copy(update={"num_steps": 8, "first_difference": first})
    found = compare(record(), record({**OTHER, **manifest}), between)
    assert found.causes == (cause,) and found.numbers_equal is False and not found.is_unexplained


def test_uncommitted_changes_may_explain_the_numbers():
    found = compare(record(), record({**OTHER, "code": {"sha256": "sha256:2"}}, dirty=True), Between())
    assert found.causes == ("uncommitted changes",) and not found.is_unexplained


def test_ledgers_that_are_not_at_hand_are_judged_by_their_heads_where_these_can_be_compared():
    no_files = changed("trajectories", "straight", "files", value={})
    other = {**no_files, "trajectories": {"straight": {"ledgers": ["sha256:x"], "files": {}}}}
    assert compare(record(no_files), record(other), Between()).numbers_equal is False
    of_another_recorder = {**other, "harness": {"version": "0.1.0", "recorder": "sha256:s"}}
    assert compare(record(no_files), record(of_another_recorder), Between()).numbers_equal is None
    prefix = record(other, scope={"steps": 3, "of": 8})
    assert compare(record(no_files), prefix, Between()).numbers_equal is None
    assert compare(record(no_files), prefix, Between(num_steps=3)).numbers_equal is True


def test_outputs_that_differ_are_named():
    files = {"m.safetensors": file("output", "sha256:z"), "n": file("output", "sha256:n")}
    found = compare(record(), record(changed("trajectories", "straight", "files", value=files)), Between())
    assert found.different_outputs == ("m.safetensors", "n") and found.numbers_equal is False


def test_values_are_told_with_their_path_and_the_description_is_none():
    after = changed("experiment", "config", value={"lr": 0.2, "new": [1, 2]})
    after["experiment"]["description"] = "other words"
    found = compare(record(), record(after), Between()).values
    assert [(one.path, one.before, one.after) for one in found] == [
        ("experiment.config.lr", "0.1", "0.2"),
        ("experiment.config.new.0", None, "1"),
        ("experiment.config.new.1", None, "2"),
    ]


def test_outputs_of_a_prefix_are_not_compared_with_those_of_a_whole_training():
    files = {"m.safetensors": file("output", "sha256:half")}
    prefix = record(changed("trajectories", "straight", "files", value=files), scope={"steps": 3, "of": 8})
    found = compare(record(), prefix, Between(num_steps=3))
    assert found.numbers_equal is True and found.different_outputs == ()
