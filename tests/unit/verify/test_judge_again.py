"""A case is put together again from documents and evidence, and two verdicts are held against each other."""

import copy
import json
import math

import pytest

from harness.documents.digest import Digest
from harness.documents.document import read_json
from harness.documents.experiment import parse_experiment
from harness.documents.verdict import ChecklistItem, Review
from harness.errors import TamperedError, UsageError
from harness.judge.manifest import Materials, build_manifest
from harness.judge.verdict import judge
from harness.judge.verdict_inputs import Rebuild
from harness.verify.comparison import first_difference
from harness.verify.evidence import Evidence
from harness.verify.judge_again import decided_otherwise, verdict_inputs_of, with_recorded_review
from harness.verify.record import read_record
from tests.made.documents import verdict_of
from tests.made.environments import environment_facts
from tests.made.synthetic import KILL, Quirks, case, good_controls, resumed, straight

EXPERIMENT = """\
schema: 1
image: cpu
run: [python, train.py]
resume: [python, train.py, --resume]
steps: 8
outputs: [adapter.safetensors, metrics.jsonl]
checkpoints: ["checkpoints/*.safetensors"]
interruptions: [{kind: micro_batch, step: 6, micro_batch: 1}]
policy: {volatile: [seconds]}
"""
IMAGE = "sha256:" + "ab" * 32
GIVEN = environment_facts().to_json()


def documents(changed=None, **changes):
    """Manifest and verdict of a case, as they come back from JSON."""
    experiment = parse_experiment(EXPERIMENT, "tiny.yaml")
    judged = case(**changes)
    verdict = judge(judged).to_json()
    evidence = tuple(one for one in (judged.straight, judged.resumed, judged.rerun) if one is not None)
    digest = Digest("sha256", "0" * 64)
    image = {"name": "cpu", "id": IMAGE}
    host = {"machine": "x86_64"}
    materials = Materials(
        commit=judged.commit, is_dirty=False, code=digest, recorder=digest, image=image, prepared={}, host=host
    )
    manifest = build_manifest(
        name="tiny",
        run_id=judged.run_id,
        runner="docker",
        version="1",
        experiment=experiment,
        materials=materials,
        trajectories=evidence,
        volatile={},
    )
    manifest, verdict = (json.loads(json.dumps(one)) for one in (manifest, verdict))
    if changed is not None:
        changed(manifest, verdict)
    return manifest, verdict, {one.name: one for one in evidence}


def judged_again(manifest, verdict, evidence):
    record = read(manifest, verdict)
    found = Evidence(trajectories=evidence, controls=record.verdict.control.controls, log_ends={})
    return judge(verdict_inputs_of(record, found, None))


def read(*documents):
    return read_record(*(json.dumps(document).encode() for document in documents))


def decided(found, told):
    return decided_otherwise(found, verdict_of(told), is_same=True)


@pytest.mark.parametrize(
    ("word", "changes"),
    [
        ("CERTIFIED", {}),
        ("DIVERGED", {"rerun": straight("rerun", Quirks(unseeded=("weights",)))}),
        ("DIVERGED", {"resumed": resumed(quirks=Quirks(forget=("moments",)))}),
        ("INCONCLUSIVE", {"rerun": None}),
        ("INCONCLUSIVE", {"controls": good_controls("flip_optim")}),
        ("INCONCLUSIVE", {"rebuild": None}),
        ("DIVERGED", {"rebuild": Rebuild(image_ids=(IMAGE, "sha256:" + "cd" * 32), source="two")}),
    ],
)
def test_the_rebuilt_case_gives_the_same_verdict_word_for_word(word, changes):
    manifest, verdict, evidence = documents(**changes)
    assert verdict["verdict"] == word, verdict["problems"]
    assert judged_again(manifest, verdict, evidence).to_json() == verdict


def test_a_straight_run_passed_off_as_the_resumed_one_is_judged_for_what_it_is():
    manifest, verdict, evidence = documents()
    copied = resumed()
    forged = copied.__class__(name="resumed", runs=(copied.runs[0], evidence["straight"].runs[0]), files=())
    found = judged_again(manifest, verdict, {**evidence, "resumed": forged})
    assert found.verdict != "CERTIFIED"
    assert decided(found, verdict)


def test_dropping_an_interruption_from_the_manifest_alone_is_seen_in_its_digest():
    def drop(manifest, verdict):
        manifest["experiment"]["interruptions"] = []
        manifest["experiment"]["policy"]["required"] = ["rerun"]

    with pytest.raises(TamperedError, match="experiment_digest"):
        judged_again(*documents(drop))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m, v: v.update(commit="d" * 40), "disagree about `commit`"),
        (lambda m, v: v.update(run_id="other"), "disagree about `run_id`"),
        (lambda m, v: v.pop("checks"), "verdict.json: checks"),
        (lambda m, v: v.update(verdict="SURE"), "verdict.json: verdict"),
        (lambda m, v: m.pop("volatile"), "manifest.json: volatile"),
        (lambda m, v: m.update(runs=[]), "not of the same runs"),
        (lambda m, v: m["runs"].reverse(), "out of place"),
        (lambda m, v: m["runs"][0].update(trajectory="../straight"), "out of place"),
        (lambda m, v: m["runs"][0].update(number=True), "manifest.json: runs.0.number"),
        (lambda m, v: m["volatile"]["runs"][0].update(seconds="1"), "manifest.json: volatile.runs.0.seconds"),
        (lambda m, v: m["code"].update(sha256="sha256:00"), "code.sha256"),
        (lambda m, v: m["experiment"].update(steps=-1), "experiment is malformed"),
        (lambda m, v: m["image"].update(id=None), "another image"),
        (lambda m, v: m["trajectories"].pop("rerun"), "do not name the same trajectories"),
        (lambda m, v: v.update(gpus=["GPU-1"]), "disagree about the GPUs"),
        (lambda m, v: v.update(environment={"python": "3"}), "verdict.json: environment"),
        (lambda m, v: v.update(environment=GIVEN), "disagree about `interpreter`"),
        (lambda m, v: [one.update(scope={"steps": 99, "of": 8}) for one in (m, v)], "no such prefix"),
        (lambda m, v: [one.update(scope={"steps": 7, "of": 9}) for one in (m, v)], "scope.of"),
    ],
)
def test_documents_that_contradict_each_other_are_refused(change, words):
    with pytest.raises(TamperedError, match=words):
        judged_again(*documents(change))


def test_a_newer_format_asks_for_a_newer_harness():
    with pytest.raises(UsageError, match="format 2"):
        judged_again(*documents(lambda m, v: m.update(schema=2)))


def test_keys_that_this_version_does_not_know_are_left_alone():
    def add(manifest, verdict):
        for document in (manifest, verdict, manifest["runs"][0], manifest["image"], verdict["checks"]["rebuild"]):
            document["novelty"] = {"a": [1]}

    manifest, verdict, evidence = documents(add)
    assert decided(judged_again(manifest, verdict, evidence), verdict) is None


def test_the_experiment_of_a_newer_version_is_read_as_far_as_it_is_known():
    from harness.verify.record import experiment_digest

    def add(manifest, verdict):
        manifest["experiment"]["novelty"] = 1
        manifest["experiment_digest"] = str(experiment_digest(manifest["experiment"]))

    manifest, verdict, evidence = documents(add)
    assert judged_again(manifest, verdict, evidence).to_json() == verdict


@pytest.mark.parametrize(
    "key", ["verdict", "exit_code", "checks", "compared", "final_state_equal", "restored", "testimony", "files"]
)
def test_every_decision_counts(key):
    manifest, verdict, evidence = documents()
    found = judged_again(manifest, verdict, evidence)
    forged = copy.deepcopy(verdict)
    forged[key] = {"verdict": "DIVERGED", "exit_code": 1, "final_state_equal": False}.get(key, [])
    if key == "checks":
        forged[key] = {**verdict[key], "resume": {**verdict[key]["resume"], "verdict": "NOT_CHECKED"}}
    if key in ("compared", "testimony"):
        forged[key] = {name: 1 if isinstance(value, int) else value for name, value in verdict[key].items()}
    assert decided(found, forged), key


def test_only_words_may_differ_between_versions():
    _, verdict, _ = documents()
    other = {**verdict, "summary": "other words", "not_checked": []}
    assert decided(verdict_of(verdict), other) is None
    assert "not_checked" in first_difference(verdict, other, only_common=False)


@pytest.mark.parametrize(
    ("found", "told", "words"),
    [
        ({"a": 1}, {"a": 1.0}, "a is 1.0 instead of 1"),
        ({"a": 1}, {"a": True}, "a is true instead of 1"),
        ({"a": [1, 2]}, {"a": [1]}, "a has 1 entries instead of 2"),
        ({"a": [{"b": 0.0}]}, {"a": [{"b": -0.0}]}, r"a[0].b is -0.0 instead of 0.0"),
        ({"a": {}}, {"a": {"b": 1}}, "a.b should not be there"),
        ({"a": {"b": 1}}, {"a": {}}, "a.b is missing"),
        ({"a": None}, {"a": []}, "a is [] instead of null"),
    ],
)
def test_a_difference_is_named_by_its_place(found, told, words):
    assert first_difference(found, told, only_common=False) == words


def test_a_number_that_is_none_equals_itself():
    assert first_difference({"loss": math.nan}, {"loss": math.nan}, only_common=False) is None


def review(vetoes, **states):
    rows = [
        ChecklistItem(id=name, group="", title="", state=state, shown=(), rules=()) for name, state in states.items()
    ]
    return Review(
        checklist=tuple(rows), findings=(), allowed=(), unread=(), vetoes=tuple(vetoes), measured=None, num_files=0
    )


@pytest.mark.parametrize(
    ("state", "vetoes", "word"),
    [("holds", [], "CERTIFIED"), ("could not tell", [], "INCONCLUSIVE"), ("vetoed", ["V1: random"], "VETOED")],
)
def test_the_recorded_review_decides_where_its_rules_are_those_of_another_version(state, vetoes, word):
    _, verdict, _ = documents()
    found = review(vetoes, T1="could not tell", V1=state)
    assert with_recorded_review(verdict_of(verdict), found).verdict == word


def test_a_recorded_review_never_turns_a_divergence_into_something_else():
    _, verdict, _ = documents(rerun=straight("rerun", Quirks(unseeded=("weights",))))
    assert with_recorded_review(verdict_of(verdict), review(["V1"])).verdict == "DIVERGED"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no JSON document"),
        (b"[]", "no JSON object"),
        (b'{"a":1,"a":1}', "comes twice"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "no JSON document"),
        (b"\xff", "no JSON document"),
        (b'{"a":' + b"9" * 5000 + b"}", "no JSON document"),
    ],
)
def test_a_malformed_document_is_refused(data, words):
    with pytest.raises(TamperedError, match=words):
        read_json(data, "verdict.json")


def test_the_kill_of_the_experiment_is_the_one_that_is_judged():
    manifest, verdict, _ = documents()
    assert tuple(kill.fault for kill in read(manifest, verdict).trained.interruptions) == (KILL,)
