"""Every rule of a replay's verdict, by a pair of trainings that breaks only that rule."""

import json
from dataclasses import replace

import pytest

from harness.documents.environment import ChangedPackage, EnvironmentDifference
from harness.documents.manifest import FileFacts, HarnessFacts, ImageFacts, Manifest, TrajectoryFacts
from harness.documents.preflight import PreflightRow, preflight_of
from harness.documents.run import Fault
from harness.documents.scope import Prefix
from harness.documents.verdict import ReplayedRecord
from harness.judge.tier import Tier
from harness.judge.verdict import judge
from harness.judge.verdict_inputs import RecordedTraining, ReplayedImage, ReplayInputs, VerdictInputs
from tests.made.environments import environment_facts
from tests.made.synthetic import STEPS, Quirks, good_controls, straight

COMMIT, OTHER = "a" * 40, "b" * 40
ID, KEY = "sha256:" + "11" * 32, "sha256:" + "22" * 32
RECORDER = "sha256:" + "33" * 32
SAME = Tier(name="same machine", detail=("processor: X",))
ELSEWHERE = Tier(name="same architecture", detail=("processor: X, today Y",))
NOISE = Quirks(noise=(5, "grad"))


def record(trajectory=None, *, is_published=False, recorder=RECORDER, **changes):
    """The record of a certify whose straight run this is; a published one has its ledger and digests only."""
    trajectory = trajectory or straight("record")
    files = {
        file.path: FileFacts(
            role=file.role, size_bytes=file.size_bytes, sha256=str(file.sha256), content=str(file.content_digest)
        )
        for file in trajectory.files
    }
    if is_published:
        runs = (replace(trajectory.runs[0], sidecar=None, events=()),)
        trajectory = replace(trajectory, runs=runs, files=())
    told = {
        "run_id": "20260101T000000Z-aaaaaaa-0000",
        "experiment": "toy",
        "commit": COMMIT,
        "verdict": "CERTIFIED",
        "source": "manifests/toy/x",
        "key": "somebody",
        "finished": "2026-01-01T00:00:00+00:00",
    }
    manifest = Manifest.model_construct(
        harness=HarnessFacts(version="0", recorder=recorder),
        image=ImageFacts(id=ID, key=KEY),
        prepared={"rows.json": ID},
        trajectories={"straight": TrajectoryFacts(ledgers=(), files=files)},
    )
    return RecordedTraining(record=ReplayedRecord(**{**told, **changes}), manifest=manifest, straight=trajectory)


def inputs(today=None, of=None, **changes):
    values = {
        "run_id": "20270101T000000Z-aaaaaaa-0001",
        "experiment": "toy",
        "commit": COMMIT,
        "dirty": False,
        "runner": "docker",
        "steps": STEPS,
        "required": ("replay",),
        "straight": today or straight(),
        "controls": good_controls("flip_param", "flip_optim"),
    }
    replayed = {
        "training": of or record(),
        "recorder": RECORDER,
        "prepared": {"rows.json": ID},
        "image": ReplayedImage(id=ID, key=KEY, built_at="2027-01-01T00:00:00+00:00"),
        "tier": SAME,
    }
    replayed |= {
        name: changes.pop(name) for name in [*changes] if name in ReplayInputs.__slots__ and name != "environment"
    }
    return VerdictInputs(**{**values, **changes, "replay": ReplayInputs(**replayed)})


def judged(today=None, of=None, **changes):
    document = judge(inputs(today, of, **changes)).to_json()
    assert json.loads(json.dumps(document)) == document
    return document


def word(document):
    return document["verdict"], document["exit_code"]


def place(document):
    first = document["first_divergence"]
    return first["check"], first["step"], first["stream"]


def test_the_same_bits_on_the_same_machine_are_certified():
    document = judged()
    assert word(document) == ("CERTIFIED", 0), document["problems"]
    assert document["kind"] == "replay"
    assert {name: one["verdict"] for name, one in document["checks"].items()} == {
        "replay": "CERTIFIED",
        "rebuild": "CERTIFIED",
        "rerun": "NOT_CHECKED",
        "resume": "NOT_CHECKED",
    }
    assert document["compared"]["steps"] == STEPS and document["compared"]["files"] == len(
        record().manifest.trajectories["straight"].files
    )
    assert document["final_state_equal"] is True and document["control"]["failed_as_it_must"] is True
    assert document["replay"]["image"] == {"archived": ID, "today": ID, "equal": True}
    assert document["replay"]["record"]["key"] == "somebody" and document["replay"]["tier"] == "same machine"
    assert "toy of commit aaaaaaaaaaaa gives the same bits again, as archived on 2026-01-01" in document["summary"]


def test_a_published_record_has_enough_to_certify_and_to_find_a_difference():
    of = record(is_published=True)
    assert word(judged(of=of)) == ("CERTIFIED", 0)
    document = judged(straight(quirks=NOISE), of=of)
    assert word(document) == ("DIVERGED", 1) and place(document) == ("replay", 5, "grad")
    assert document["first_divergence"]["tensor"] is None
    assert any("digests of whole streams only" in line for line in document["not_checked"])


def test_a_difference_is_named_by_its_step_its_stream_and_its_tensor():
    document = judged(straight(quirks=NOISE))
    assert word(document) == ("DIVERGED", 1) and place(document) == ("replay", 5, "grad")
    assert document["first_divergence"]["tensor"] == "layers.0.weight"
    assert document["first_divergence"]["trajectory"] == "replay"
    assert "the first difference is in grad at step 5" in document["summary"]


@pytest.mark.parametrize("name", ["same architecture", "other"])
def test_equality_on_other_hardware_is_the_stronger_claim_and_a_difference_says_nothing(name):
    tier = Tier(name=name, detail=("processor: X, today Y",))
    document = judged(tier=tier)
    assert word(document) == ("CERTIFIED", 0)
    assert f"also on other hardware ({name}: processor: X, today Y)" in document["summary"]
    document = judged(straight(quirks=NOISE), tier=tier)
    assert word(document) == ("INCONCLUSIVE", 3) and place(document) == ("replay", 5, "grad")
    assert document["cause"] is None and document["checks"]["replay"]["verdict"] == "INCONCLUSIVE"


def test_a_difference_on_hardware_of_the_same_model_counts():
    assert word(judged(straight(quirks=NOISE), tier=Tier(name="same model"))) == ("DIVERGED", 1)


def test_another_image_of_the_same_recipe_is_a_difference_of_its_own():
    other = ReplayedImage(id="sha256:" + "44" * 32, key=KEY)
    document = judged(image=other)
    assert word(document) == ("DIVERGED", 1) and document["checks"]["rebuild"]["verdict"] == "DIVERGED"
    assert (
        document["checks"]["replay"]["verdict"] == "CERTIFIED"
        and document["cause"]["class"] == "image_not_reproducible"
    )
    assert document["replay"]["image"]["equal"] is False


def test_an_image_that_this_version_builds_in_another_way_is_told_and_does_not_count():
    document = judged(image=ReplayedImage(id="sha256:" + "44" * 32, key="sha256:" + "55" * 32))
    assert word(document) == ("CERTIFIED", 0) and document["checks"]["rebuild"]["verdict"] == "INCONCLUSIVE"
    assert any("builds images in another way" in line for line in document["not_checked"])


def test_the_records_own_image_is_no_rebuild():
    document = judged(image=ReplayedImage(id=ID, key=KEY, built_at="2025-01-01T00:00:00+00:00", is_new=False))
    assert word(document) == ("CERTIFIED", 0) and document["checks"]["rebuild"]["verdict"] == "NOT_CHECKED"
    assert any("it was not built again" in line for line in document["not_checked"])


def test_converted_inputs_that_are_others_come_first():
    document = judged(straight(quirks=NOISE), prepared={"rows.json": KEY})
    assert word(document) == ("DIVERGED", 1) and place(document) == ("replay", 1, "prepared")


def test_a_code_change_that_alters_numbers_diverges_at_its_step_and_names_what_changed():
    changes = ("pipelines/train.py", "docs/x.md")
    document = judged(straight(quirks=NOISE), against=OTHER, commit=OTHER, code_changes=changes)
    assert word(document) == ("DIVERGED", 1) and place(document) == ("replay", 5, "grad")
    cause = document["cause"]
    assert cause["class"] == "code_changed" and any(
        "pipelines/train.py, docs/x.md" in line for line in cause["evidence"]
    )
    assert any("steps 1 to 4 are the same" in line for line in cause["ruled_out"])
    assert any(ID in line for line in cause["ruled_out"])
    assert document["commit"] == OTHER and document["replay"]["against"] == OTHER
    assert document["checks"]["rebuild"]["verdict"] == "NOT_CHECKED"


def test_a_code_change_that_alters_nothing_is_certified_as_that():
    document = judged(against=OTHER, commit=OTHER, prepared={"rows.json": KEY})
    assert word(document) == ("CERTIFIED", 0) and "the changes altered no number" in document["summary"]


def test_a_training_of_another_length_differs_where_the_shorter_one_ends():
    longer = record()
    ledger = longer.straight.runs[0].ledger
    cut = replace(longer.straight.runs[0], ledger=replace(ledger, steps=ledger.steps[:-2]))
    document = judged(of=replace(longer, straight=replace(longer.straight, runs=(cut,))))
    assert word(document) == ("DIVERGED", 1) and place(document)[1:] == (STEPS - 1, "step")


def test_a_file_that_is_another_or_is_missing_is_a_difference():
    of = record(is_published=True)
    files = of.manifest.trajectories["straight"].files
    path = next(path for path, file in files.items() if file.role == "output")
    other = files | {path: files[path].model_copy(update={"sha256": ID, "content": KEY})}
    changed = of.manifest.model_copy(update={"trajectories": {"straight": TrajectoryFacts(ledgers=(), files=other)}})
    document = judged(of=replace(of, manifest=changed))
    assert word(document) == ("DIVERGED", 1) and document["first_divergence"]["tensor"] == path
    fewer = straight()
    fewer = replace(fewer, files=tuple(file for file in fewer.files if file.path != path))
    assert word(judged(fewer, of=of)) == ("DIVERGED", 1)


def test_a_prefix_is_certified_as_what_it_is():
    stop = Fault(kind="stop", step=3)
    document = judged(straight(kill=stop), scope=Prefix(steps=3, of=STEPS), steps=3)
    assert word(document) == ("CERTIFIED", 0), document["problems"]
    assert document["compared"]["steps"] == 3 and document["files"] == [] and document["scope"] == {"steps": 3, "of": 8}
    assert "in the first 3 of 8 steps" in document["summary"] and document["final_state_equal"] is None
    assert any("steps 4 to 8, the outputs and the final state" in line for line in document["not_checked"])


def test_only_generators_that_differ_are_left_open_by_a_record_without_their_tensors():
    today = straight()
    ledger = today.runs[0].ledger
    steps = [replace(s, streams={**s.streams, "rng": s.streams["param"]}) if s.step == 3 else s for s in ledger.steps]
    run = replace(today.runs[0], ledger=replace(ledger, steps=tuple(steps)))
    document = judged(replace(today, runs=(run,)), of=record(is_published=True))
    assert (
        word(document) == ("INCONCLUSIVE", 3)
        and "only the generators' states differ, from step 3 on" in document["summary"]
    )


def test_streams_that_an_older_recorder_never_wrote_are_told_and_not_compared():
    older = record()
    ledger = older.straight.runs[0].ledger
    steps = [replace(s, streams={k: v for k, v in s.streams.items() if k != "lr"}) for s in ledger.steps]
    run = replace(older.straight.runs[0], ledger=replace(ledger, steps=tuple(steps)))
    older = replace(older, straight=replace(older.straight, runs=(run,)))
    assert word(judged(of=older)) == ("INCONCLUSIVE", 3)
    document = judged(of=replace(record(recorder=ID), straight=older.straight))
    assert word(document) == ("CERTIFIED", 0) and any("stream lr" in line for line in document["not_checked"])


def test_a_training_that_failed_is_no_divergence():
    document = judged(straight(quirks=NOISE), problems=("straight/1 ran out of memory",))
    assert word(document) == ("INCONCLUSIVE", 3) and "straight/1 ran out of memory" in document["summary"]
    assert document["checks"]["replay"]["verdict"] == "INCONCLUSIVE" and document["first_divergence"] is None


def test_a_control_that_was_not_detected_makes_it_inconclusive():
    names = good_controls("flip_param")
    checks = [check.model_copy(update={"detected": check.name != "ledger_digit"}) for check in names]
    assert word(judged(controls=tuple(checks))) == ("INCONCLUSIVE", 3)
    assert word(judged(straight(quirks=NOISE), controls=tuple(checks))) == ("INCONCLUSIVE", 3)


def test_what_is_gone_is_the_summary_of_a_replay_that_never_ran():
    needs = [
        PreflightRow(kind="wheel", name="torch.whl", state="gone", detail="asked: localhost", remedy="use an archive"),
        PreflightRow(kind="engine", name="Docker Engine", state="present"),
    ]
    document = judged(preflight=preflight_of(needs, 0.5), problems=("gone",)) | {}
    assert document["replay"]["preflight"][0]["state"] == "gone"
    never = replace(
        inputs(preflight=preflight_of(needs, 0.5), problems=("a wheel is gone",)), straight=None, controls=()
    )
    document = judge(never).to_json()
    assert word(document) == ("INCONCLUSIVE", 3) and document["checks"]["replay"]["verdict"] == "NOT_CHECKED"
    assert "it cannot be replayed here today: wheel torch.whl is gone (asked: localhost)" in document["summary"]


def test_a_record_that_did_not_repeat_itself_then_says_so():
    lines = judged(of=record(verdict="DIVERGED", key=None))["not_checked"]
    assert any("its own verdict was DIVERGED" in line for line in lines)
    assert any("nobody signed it" in line for line in lines)


def test_other_packages_than_the_locks_leave_a_difference_open_and_are_told_with_equality():
    changed = ChangedPackage(name="torch", locked="2.13.0", found="2.12.0")
    other = environment_facts(EnvironmentDifference(changed=(changed,)))
    document = judged(environment=other, runner="host")
    assert word(document) == ("CERTIFIED", 0) and "in an environment that is NOT the locked one" in document["summary"]
    document = judged(straight(quirks=NOISE), environment=other, runner="host")
    assert word(document) == ("INCONCLUSIVE", 3) and "not the locked one: that may be why" in document["summary"]
