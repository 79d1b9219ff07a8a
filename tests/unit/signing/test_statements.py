import json

import pytest
import rfc8785

from harness.errors import TamperedError
from harness.signing.certificate import parse_statement
from harness.signing.statements import statements
from tests.made.documents import verdict_of
from tests.made.run_documents import run_documents

CERTIFICATE, VERDICT, MANIFEST = run_documents()


def refused(data):
    with pytest.raises(TamperedError) as caught:
        parse_statement(data)
    return caught.value.problem


def test_three_statements_are_signed_and_the_certificate_is_the_first():
    found = statements(CERTIFICATE, VERDICT, MANIFEST)
    assert found[0] == CERTIFICATE
    assert [json.loads(one)["predicateType"] for one in found[1:]] == [
        "https://slsa.dev/provenance/v1",
        "https://in-toto.io/attestation/test-result/v0.1",
    ]
    assert all(rfc8785.dumps(json.loads(one)) == one for one in found)


def test_the_same_documents_give_the_same_bytes():
    document = VERDICT.to_json()
    again = verdict_of({key: document[key] for key in reversed(document)})
    assert statements(CERTIFICATE, again, MANIFEST) == statements(CERTIFICATE, VERDICT, MANIFEST)


def test_a_statement_comes_back():
    assert parse_statement(CERTIFICATE) == json.loads(CERTIFICATE)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "no JSON"),
        (b"null", "keys of an in-toto statement"),
        (b"[]", "keys of an in-toto statement"),
        (b"{}", "keys of an in-toto statement"),
        (CERTIFICATE + b"\n", "canonical"),
        (json.dumps(json.loads(CERTIFICATE)).encode(), "canonical"),
        (CERTIFICATE.replace(b'{"_type"', b'{"_type":"x","_type"', 1), "canonical"),
        (CERTIFICATE.replace(b'"experiment":"tiny"', b'"experiment":"\\u0074iny"'), "canonical"),
        (CERTIFICATE.replace(b'"steps":12', b'"steps":12.0'), "canonical"),
        (CERTIFICATE.replace(b'"steps":12', b'"numSteps":NaN'), "no JSON"),
        (CERTIFICATE.replace(b'"steps":12', b'"numSteps":' + b"9" * 400), "no JSON"),
        (CERTIFICATE.replace(b'"steps":12', b'"numSteps":' + b"9" * 9000), "no JSON"),
        (CERTIFICATE.replace(b'"steps":12', b'"numSteps":1e999'), "no JSON"),
        (CERTIFICATE.replace(b'"tiny"', b'"\xff"'), "no JSON"),
        (CERTIFICATE.replace(b'"tiny"', b'"\\ud800"'), "no JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "nested too deeply"),
        (CERTIFICATE.replace(b"in-toto.io/Statement/v1", b"in-toto.io/Statement/v2"), "_type"),
        (CERTIFICATE[:-1] + b',"zzz":1}', "keys of an in-toto statement"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_whatever_is_no_canonical_statement_is_refused(data, problem):
    assert problem in refused(data)


def test_a_statement_that_is_too_large_is_not_read(monkeypatch):
    monkeypatch.setattr("harness.signing.certificate.MAX_STATEMENT_BYTES", 10)
    assert "at most 10" in refused(CERTIFICATE)


def test_a_manifest_that_says_no_times_is_an_error_in_words():
    without = MANIFEST.model_copy(update={"volatile": MANIFEST.volatile.model_copy(update={"started": ""})})
    with pytest.raises(TamperedError, match="no time"):
        statements(CERTIFICATE, VERDICT, without)
