"""A certificate has the published form, whichever version it is of: every key counts, and no other can be added."""

import copy
import json

import pytest
import rfc8785
from jsonschema import Draft202012Validator

from harness.documents.certificate import RESULTS
from harness.documents.scope import Prefix
from harness.errors import TamperedError
from harness.signing.bundle import parse_bundle
from harness.signing.certificate import SCHEMA_FILE, read_certificate
from tests import ROOT
from tests.made.run_documents import run_documents
from tests.made.synthetic import UNSEEDED, Quirks, resumed

SIGNED = next((ROOT / "manifests" / "tiny").glob("*/certificate.intoto.jsonl"))
OLD = json.loads(parse_bundle(SIGNED.read_bytes())[0].payload)
NEW = json.loads(run_documents()[0])
CERTIFIED = {"v1": OLD, "v2": NEW}
DIVERGED = json.loads(run_documents(resumed=resumed(quirks=Quirks(forget=("rng",))))[0])
CHECKS = {"v1": "oracles", "v2": "checks"}
FREE = {"environment.process", "environment.process.versions", "image.locks", "environment.gpu", "review.checklist"}
OLD_FACTS = ("predicate", "environment")  # version 1 took the machine's facts as they came

REPLAY = {
    "record": {
        "runId": "r",
        "experiment": "tiny",
        "commit": "c" * 40,
        "verdict": "CERTIFIED",
        "source": "an archive",
        "finished": "2026-11-23T16:07:25+00:00",
        "key": None,
    },
    "against": None,
    "tier": "same model",
    "tierDetail": ["the same CPU"],
    "environment": [{"path": "host.kernel", "archived": "6.1", "today": None}],
    "image": {"archived": "sha256:" + "2" * 64, "today": "sha256:" + "2" * 64, "equal": True},
    "codeChanges": [],
    "preflight": [{"kind": "wheel", "name": "torch", "state": "present", "detail": "", "remedy": ""}],
}


def is_refused(statement):
    try:
        read_certificate(rfc8785.dumps(statement))
    except TamperedError:
        return True
    return False


def paths(value, path=()):
    """Every key of every object, and every place of every list, with the path to it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from paths(item, (*path, key))


def at(statement, path):
    for key in path:
        statement = statement[key]
    return statement


def with_(statement, path, change):
    changed = copy.deepcopy(statement)
    change(at(changed, path[:-1]), path[-1])
    return changed


def keys_of(statement):
    """The keys that a schema fixes, of lists only in their first place: the others have the same form."""
    for path in paths(statement):
        is_first = all(key == 0 for key in path if isinstance(key, int))
        is_free = any(".".join(map(str, path[1:end])) in FREE for end in range(2, len(path)))
        is_fact = statement is OLD and path[:2] == OLD_FACTS and len(path) > 2
        if isinstance(path[-1], str) and is_first and not is_free and not is_fact:
            yield path


def every_key():
    return [
        pytest.param(name, path, id=f"{name}.{'.'.join(map(str, path))}")
        for name in CERTIFIED
        for path in keys_of(CERTIFIED[name])
    ]


def test_version_1_is_the_published_schema_and_the_certificates_fit_it():
    published = json.loads((ROOT / "docs" / "schemas" / "training-reproducibility-v1.schema.json").read_text())
    Draft202012Validator.check_schema(published)
    Draft202012Validator(published).validate(OLD)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scope": Prefix(steps=6, of=8)},
        {"resumed": resumed(quirks=Quirks(forget=("rng",)))},
        {"review": UNSEEDED},
        {"controls": ()},
        {"problems": ("no engine",), "straight": None, "resumed": None, "rerun": None},
        {"dirty": True},
        {"required": ("rerun",), "rebuild": None},
    ],
)
def test_the_certificate_of_every_verdict_comes_back_and_fits_the_published_schema(changes):
    certificate, verdict, _ = run_documents(**changes)
    assert read_certificate(certificate).predicate.verdict == verdict.verdict
    Draft202012Validator(json.loads((ROOT / SCHEMA_FILE).read_text())).validate(json.loads(certificate))


@pytest.mark.parametrize(("name", "path"), every_key())
def test_every_key_counts(name, path):
    def remove(parent, key):
        del parent[key]

    def rename(parent, key):
        parent[f"{key}_"] = parent.pop(key)

    statement = CERTIFIED[name]
    is_digest = path[-2:-1] == ("digest",) and len(at(statement, path[:-1])) > 1  # one of two digests may be missing
    assert is_digest or is_refused(with_(statement, path, remove))
    assert is_refused(with_(statement, path, rename))


@pytest.mark.parametrize("path", [*keys_of(DIVERGED)], ids=lambda path: ".".join(map(str, path)))
def test_no_value_of_another_type_is_taken(path):
    value = at(DIVERGED, path)
    others = [other for other in (True, 7.5, "\x00", [[]], {"\x00": 1}) if type(other) is not type(value)]
    for other in others:
        changed = with_(DIVERGED, path, lambda parent, key, other=other: parent.__setitem__(key, other))
        is_text = value is None and other == "\x00"  # a text may stand where null does
        is_map = ".".join(map(str, path[1:])) in FREE and isinstance(other, dict)
        assert is_text or is_map or is_refused(changed), other


@pytest.mark.parametrize("name", CERTIFIED)
def test_nothing_can_be_added_to_any_object(name):
    for path in [(), *paths(CERTIFIED[name])]:
        is_fact = path[:2] == OLD_FACTS and len(path) > 2 and (name == "v1" or "process" in path)
        if isinstance(at(CERTIFIED[name], path), dict) and not is_fact:
            changed = with_(CERTIFIED[name], (*path, "added"), lambda parent, key: parent.__setitem__(key, {"x": 1}))
            assert is_refused(changed), path


def test_what_version_1_said_is_told_in_the_words_of_version_2():
    predicate = read_certificate(rfc8785.dumps(OLD)).predicate
    assert predicate.checks.rerun.verdict == OLD["predicate"]["oracles"]["rerun"]["verdict"]
    assert [control.detected for control in predicate.controls] == [
        control["failedAsItMust"] for control in OLD["predicate"]["controls"]
    ]
    assert predicate.compared.tensors == OLD["predicate"]["compared"]["numTensors"]


def replayed(name, told):
    """A certificate of a replay."""
    statement = copy.deepcopy(CERTIFIED[name])
    predicate = statement["predicate"]
    predicate[CHECKS[name]]["replay"] = dict(predicate[CHECKS[name]]["rerun"])
    predicate["claims"] = ["BITWISE_EQUAL_REPLAY"]
    predicate["replay"] = told
    return statement


@pytest.mark.parametrize("name", CERTIFIED)
def test_a_replay_says_what_was_replayed_and_on_what(name):
    def pop(parent, key):
        parent.pop(key)

    assert not is_refused(replayed(name, REPLAY))
    assert is_refused(replayed(name, None))
    assert is_refused(with_(replayed(name, REPLAY), ("predicate", "replay"), pop))
    assert is_refused(with_(replayed(name, REPLAY), ("predicate", CHECKS[name], "replay"), pop))
    for path in paths(REPLAY):
        if isinstance(path[-1], str):
            assert is_refused(replayed(name, with_(REPLAY, path, pop))), path
    assert is_refused(replayed(name, {**REPLAY, "tier": "some machine"}))


@pytest.mark.parametrize("name", CERTIFIED)
@pytest.mark.parametrize("verdict", RESULTS)
def test_a_verdict_has_its_own_result_and_only_certified_claims(name, verdict):
    def changed(**values):
        return {**CERTIFIED[name], "predicate": {**CERTIFIED[name]["predicate"], "verdict": verdict, **values}}

    fitting = RESULTS[verdict]
    claims = CERTIFIED[name]["predicate"]["claims"] if verdict == "CERTIFIED" else []
    assert not is_refused(changed(result=fitting, claims=claims))
    for result in {*RESULTS.values()} - {fitting}:
        assert is_refused(changed(result=result, claims=claims))
    assert is_refused(changed(result=fitting, claims=["BITWISE_EQUAL_RERUN"])) is (verdict != "CERTIFIED")
    assert is_refused(changed(result=fitting, claims=["EVERYTHING"]))


@pytest.mark.parametrize("name", CERTIFIED)
@pytest.mark.parametrize("digits", ["4" * 63, "4" * 65, "4" * 64 + "\n", "G" * 64, "A" * 64, ""])
def test_a_digest_has_64_lower_case_hex_digits(name, digits):
    changed = copy.deepcopy(CERTIFIED[name])
    changed["predicate"]["evidence"][0]["digest"]["sha256"] = digits
    assert is_refused(changed)


@pytest.mark.parametrize("name", CERTIFIED)
def test_the_error_names_the_key(name):
    changed = copy.deepcopy(CERTIFIED[name])
    changed["predicate"][CHECKS[name]]["rerun"]["verdict"] = "MAYBE"
    with pytest.raises(TamperedError, match=r"predicate\.checks\.rerun\.verdict"):
        read_certificate(rfc8785.dumps(changed))
