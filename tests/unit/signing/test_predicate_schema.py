import copy
import json

import pytest
from jsonschema import Draft202012Validator

from harness.documents.scope import Prefix
from harness.errors import TamperedError
from harness.signing.certificate import RESULTS
from harness.signing.predicate_schema import SCHEMA_FILE, check_predicate, schema, schema_text
from tests import ROOT
from tests.made.run_documents import run_documents
from tests.made.synthetic import UNSEEDED, Quirks, resumed

CERTIFIED = json.loads(run_documents()[0])
CERTIFIED["predicate"]["environment"]["process"]["threads"] = 1
DIVERGED = json.loads(run_documents(resumed=resumed(quirks=Quirks(forget=("rng",))))[0])
FREE = {"environment.process.versions", "image.locks", "environment.gpu"}  # maps, whose keys nothing fixes


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
        check_predicate(statement)
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
    """The keys that a schema fixes."""
    for path in paths(statement):
        is_free = ".".join(map(str, path[1:-1])) in FREE or path[-2:] == ("process", "threads")
        if isinstance(path[-1], str) and not is_free:
            yield path


def test_the_published_schema_is_this_one():
    published = (ROOT / SCHEMA_FILE).read_text(encoding="utf-8")
    assert published == schema_text(), f"write schema_text() into {SCHEMA_FILE}"
    Draft202012Validator.check_schema(json.loads(published))


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
def test_the_certificate_of_every_verdict_fits(changes):
    check_predicate(json.loads(run_documents(**changes)[0]))


@pytest.mark.parametrize("path", [*keys_of(CERTIFIED)], ids=lambda path: ".".join(map(str, path)))
def test_every_key_counts(path):
    def remove(parent, key):
        del parent[key]

    def rename(parent, key):
        parent[f"{key}_"] = parent.pop(key)

    is_digest = path[-2:-1] == ("digest",) and len(at(CERTIFIED, path[:-1])) > 1  # one of two digests may be missing
    assert is_digest or is_refused(with_(CERTIFIED, path, remove))
    assert is_refused(with_(CERTIFIED, path, rename))


@pytest.mark.parametrize("path", [*keys_of(DIVERGED)], ids=lambda path: ".".join(map(str, path)))
def test_no_value_of_another_type_is_taken(path):
    value = at(DIVERGED, path)
    others = [other for other in (True, 7.5, "\x00", [[]], {"\x00": 1}) if type(other) is not type(value)]
    for other in others:
        changed = with_(DIVERGED, path, lambda parent, key, other=other: parent.__setitem__(key, other))
        is_text = value is None and other == "\x00"  # a text may stand where null does
        assert is_text or is_refused(changed), other


def test_nothing_can_be_added_to_any_object():
    objects = [path for path in [(), *paths(CERTIFIED)] if isinstance(at(CERTIFIED, path), dict)]
    open_ = ("predicate", "environment")
    for path in objects:
        if path[:2] == open_ and len(path) > 2:
            continue
        changed = with_(CERTIFIED, (*path, "added"), lambda parent, key: parent.__setitem__(key, {"x": 1}))
        assert is_refused(changed), path


def closed(found):
    if isinstance(found, dict):
        if "properties" in found and found.get("type") == "object" and "additionalProperties" not in found:
            yield found
        for item in found.values():
            yield from closed(item)
    elif isinstance(found, list):
        for item in found:
            yield from closed(item)


def test_only_the_facts_about_the_machine_are_open():
    predicate = schema()["properties"]["predicate"]
    environment = predicate["properties"].pop("environment")
    assert [*closed({**schema(), "properties": {"predicate": predicate}})] == []
    assert len([*closed(environment)]) == 2


def replayed(told):
    """A certificate of a replay."""
    statement = copy.deepcopy(CERTIFIED)
    predicate = statement["predicate"]
    predicate["oracles"]["replay"] = dict(predicate["oracles"]["rerun"])
    predicate["claims"] = ["BITWISE_EQUAL_REPLAY"]
    predicate["replay"] = told
    return statement


def test_a_replay_says_what_was_replayed_and_on_what():
    check_predicate(replayed(REPLAY))
    assert is_refused(replayed(None))
    assert is_refused(with_(replayed(REPLAY), ("predicate", "replay"), lambda parent, key: parent.pop(key)))
    assert is_refused(with_(replayed(REPLAY), ("predicate", "oracles", "replay"), lambda parent, key: parent.pop(key)))
    for path in paths(REPLAY):
        if isinstance(path[-1], str):
            assert is_refused(replayed(with_(REPLAY, path, lambda parent, key: parent.pop(key)))), path
    assert is_refused(replayed({**REPLAY, "tier": "some machine"}))


@pytest.mark.parametrize("verdict", RESULTS)
def test_a_verdict_has_its_own_result_and_only_certified_claims(verdict):
    def changed(**values):
        return {**CERTIFIED, "predicate": {**CERTIFIED["predicate"], "verdict": verdict, **values}}

    fitting = RESULTS[verdict]
    claims = CERTIFIED["predicate"]["claims"] if verdict == "CERTIFIED" else []
    check_predicate(changed(result=fitting, claims=claims))
    for result in {*RESULTS.values()} - {fitting}:
        assert is_refused(changed(result=result, claims=claims))
    assert is_refused(changed(result=fitting, claims=["BITWISE_EQUAL_RERUN"])) is (verdict != "CERTIFIED")
    assert is_refused(changed(result=fitting, claims=["EVERYTHING"]))


@pytest.mark.parametrize("digits", ["4" * 63, "4" * 65, "4" * 64 + "\n", "G" * 64, "A" * 64, ""])
def test_a_digest_has_64_lower_case_hex_digits(digits):
    changed = copy.deepcopy(CERTIFIED)
    changed["predicate"]["evidence"][0]["digest"]["sha256"] = digits
    assert is_refused(changed)


def test_the_error_names_the_key():
    changed = copy.deepcopy(CERTIFIED)
    changed["predicate"]["oracles"]["rerun"]["verdict"] = "MAYBE"
    with pytest.raises(TamperedError, match=r"predicate\.oracles\.rerun\.verdict"):
        check_predicate(changed)
