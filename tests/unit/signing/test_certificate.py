import json

import pytest
import rfc8785

from harness.documents.certificate import PREDICATE_TYPE
from harness.documents.manifest import FileFacts, TrajectoryFacts
from harness.documents.run import Fault
from harness.documents.scope import Prefix
from harness.errors import TamperedError
from harness.judge.verdict import judge
from harness.signing.certificate import build_certificate, read_certificate
from tests.made.documents import verdict_of
from tests.made.run_documents import run_documents
from tests.made.synthetic import UNSEEDED, Quirks, case, resumed, straight

DIGESTS = {"verdict.json": "sha256:" + "4" * 64, "manifest.json": "sha256:" + "5" * 64}
_, _, MADE = run_documents()
STRAIGHT = TrajectoryFacts(
    ledgers=(None,),
    files={"adapter.safetensors": FileFacts(role="output", size_bytes=1, sha256="sha256:" + "3" * 64, content=None)},
)
PROCESS = {"load": float("nan"), "name": "\udc80", "large": 1 << 60}
MANIFEST = MADE.model_copy(
    update={
        "trajectories": {"straight": STRAIGHT},
        "environment": MADE.environment.model_copy(update={"process": PROCESS}),
        "volatile": MADE.volatile.model_copy(update={"finished": "2026-11-23T06:07:08.999+01:00"}),
    }
)


def certificate(**changes):
    verdict = verdict_of(judge(case(**changes)).to_json())
    return build_certificate(verdict, MANIFEST, DIGESTS), verdict


def test_a_certificate_is_an_in_toto_statement_about_the_outputs_and_the_commit():
    data, verdict = certificate()
    statement = json.loads(data)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == PREDICATE_TYPE
    contents = {file.path: file.content.removeprefix("sha256:") for file in verdict.files}
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
    assert predicate["compared"]["steps"] == 12
    assert predicate["interruptions"][0]["microBatch"] == 1
    assert predicate["image"]["id"] == "sha256:" + "2" * 64
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


def test_a_check_that_was_not_checked_is_not_claimed():
    predicate = json.loads(certificate(required=("rerun",), rebuild=None)[0])["predicate"]
    assert predicate["claims"] == ["BITWISE_EQUAL_RERUN", "BITWISE_EQUAL_RESUME"]


def test_the_bytes_are_canonical_and_repeat():
    data, _ = certificate()
    assert data == certificate()[0] == rfc8785.dumps(json.loads(data))
    process = json.loads(data)["predicate"]["environment"]["process"]
    assert process == {"large": str(1 << 60), "load": "nan", "name": "\\udc80"}


def test_an_amount_that_json_numbers_do_not_hold_stands_as_text():
    verdict = certificate()[1]
    large = verdict.compared.model_copy(update={"bytes": 1 << 60})
    data = build_certificate(verdict.model_copy(update={"compared": large}), MANIFEST, DIGESTS)
    assert json.loads(data)["predicate"]["compared"]["bytes"] == str(1 << 60)
    assert read_certificate(data).predicate.compared.bytes == 1 << 60


def keys(value):
    if isinstance(value, dict):
        yield from value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from keys(item)


def test_every_key_is_in_camel_case():
    predicate = json.loads(certificate(resumed=resumed(quirks=Quirks(forget=("rng",))))[0])["predicate"]
    assert predicate["firstDivergence"] and predicate["cause"]
    assert not [key for key in keys(predicate) if "_" in key]


def test_a_manifest_without_a_time_has_no_certificate():
    manifest = MANIFEST.model_copy(update={"volatile": MADE.volatile.model_copy(update={"finished": "noon"})})
    with pytest.raises(TamperedError, match="no time"):
        build_certificate(certificate()[1], manifest, DIGESTS)


def test_a_certificate_of_a_prefix_claims_in_words_of_its_own_and_covers_no_output():
    stop = Fault(kind="stop", step=7)
    data, verdict = certificate(
        steps=7,
        scope=Prefix(steps=7, of=8),
        straight=straight(kill=stop),
        rerun=straight("rerun", kill=stop),
        resumed=resumed(last_kill=stop),
    )
    assert verdict.verdict == "CERTIFIED", verdict.problems
    statement = json.loads(data)
    assert statement["predicate"]["scope"] == {"steps": 7, "of": 8}
    assert statement["predicate"]["claims"] == [
        "BITWISE_EQUAL_RERUN_OF_PREFIX",
        "BITWISE_EQUAL_RESUME_OF_PREFIX",
        "IDENTICAL_IMAGE_REBUILD",
    ]
    assert [subject["name"] for subject in statement["subject"]] == ["commit of tiny"]
    assert json.loads(certificate()[0])["predicate"]["scope"] is None


def test_documents_that_this_program_does_not_write_give_no_certificate():
    odd = certificate()[1].model_copy(update={"commit": "HEAD"})
    with pytest.raises(TamperedError, match="give no certificate: subject"):
        build_certificate(odd, MANIFEST, DIGESTS)
