import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
import rfc8785

from harness.documents.run import Fault
from harness.documents.scope import Prefix
from harness.judge.verdict import judge, verdict_to_json
from harness.signing.certificate import PREDICATE_TYPE, build_certificate
from tests.made.synthetic import UNSEEDED, Quirks, case, resumed, straight

FINISHED = datetime(2026, 11, 23, 6, 7, 8, 999, tzinfo=timezone(timedelta(hours=1)))
MANIFEST = {
    "image": {
        "name": "cpu",
        "id": "sha256:" + "1" * 64,
        "locks": {"cpu.lock": "sha256:" + "2" * 64},
        "size_bytes": 1 << 60,
    },
    "environment": {"host": {"memory_bytes": 1 << 60, "load": float("nan"), "name": "\udc80"}},
    "trajectories": {"straight": {"files": {"adapter.safetensors": {"sha256": "sha256:" + "3" * 64}}}},
}
DIGESTS = {"verdict.json": "sha256:" + "4" * 64, "manifest.json": "sha256:" + "5" * 64}


def certificate(**changes):
    document = verdict_to_json(judge(case(**changes)))
    return build_certificate(verdict=document, manifest=MANIFEST, digests=DIGESTS, finished=FINISHED), document


def test_a_certificate_is_an_in_toto_statement_about_the_outputs_and_the_commit():
    data, document = certificate()
    statement = json.loads(data)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == PREDICATE_TYPE
    contents = {file["path"]: file["content"].removeprefix("sha256:") for file in document["files"]}
    assert statement["subject"] == [
        {
            "name": "adapter.safetensors",
            "digest": {"sha256": "3" * 64, "contentSha256": contents["adapter.safetensors"]},
        },
        {"name": "metrics.jsonl", "digest": {"contentSha256": contents["metrics.jsonl"]}},
        {"name": "commit of tiny", "digest": {"gitCommit": "c" * 40}},
    ]


def test_a_certificate_claims_what_was_shown():
    predicate = json.loads(certificate()[0])["predicate"]
    assert (predicate["result"], predicate["verdict"]) == ("PASSED", "CERTIFIED")
    assert predicate["claims"] == ["BITWISE_EQUAL_RERUN", "BITWISE_EQUAL_RESUME", "IDENTICAL_IMAGE_REBUILD"]
    assert predicate["evidence"] == [
        {"name": "manifest.json", "digest": {"sha256": "5" * 64}},
        {"name": "verdict.json", "digest": {"sha256": "4" * 64}},
    ]
    assert predicate["finishedOn"] == "2026-11-23T05:07:08Z"
    assert predicate["compared"]["numSteps"] == 12
    assert predicate["interruptions"][0]["microBatch"] == 1
    assert predicate["image"]["id"] == "sha256:" + "1" * 64
    assert predicate["notChecked"]


@pytest.mark.parametrize(
    ("changes", "result"),
    [
        ({"resumed": resumed(quirks=Quirks(forget=("rng",)))}, "FAILED"),
        ({"controls": ()}, "INCONCLUSIVE"),
        ({"review": UNSEEDED}, "VETOED"),
        ({"problems": ("no engine",), "straight": None}, "INCONCLUSIVE"),
    ],
)
def test_any_other_verdict_claims_nothing_and_says_so(changes, result):
    predicate = json.loads(certificate(**changes)[0])["predicate"]
    assert (predicate["result"], predicate["claims"]) == (result, [])


def test_an_oracle_that_was_not_checked_is_not_claimed():
    predicate = json.loads(certificate(required=("rerun",), rebuild=None)[0])["predicate"]
    assert predicate["claims"] == ["BITWISE_EQUAL_RERUN", "BITWISE_EQUAL_RESUME"]


def test_the_bytes_are_canonical_and_repeat():
    data, _ = certificate()
    assert data == certificate()[0] == rfc8785.dumps(json.loads(data))
    host = json.loads(data)["predicate"]["environment"]["host"]
    assert host == {"memory_bytes": str(1 << 60), "load": "nan", "name": "\\udc80"}


def test_times_are_universal():
    assert FINISHED.astimezone(UTC).hour == 5


def test_a_certificate_of_a_prefix_claims_in_words_of_its_own_and_covers_no_output():
    stop = Fault(kind="stop", step=7)
    data, document = certificate(
        steps=7,
        scope=Prefix(steps=7, of=8),
        straight=straight(kill=stop),
        rerun=straight("rerun", kill=stop),
        resumed=resumed(last_kill=stop),
    )
    assert document["verdict"] == "CERTIFIED", document["problems"]
    statement = json.loads(data)
    assert statement["predicate"]["scope"] == {"steps": 7, "of": 8}
    assert statement["predicate"]["claims"] == [
        "BITWISE_EQUAL_RERUN_OF_PREFIX",
        "BITWISE_EQUAL_RESUME_OF_PREFIX",
        "IDENTICAL_IMAGE_REBUILD",
    ]
    assert [subject["name"] for subject in statement["subject"]] == ["commit of tiny"]
    assert json.loads(certificate()[0])["predicate"]["scope"] is None
