import base64
import json

import pytest

from harness.errors import TamperedError
from harness.signing.bundle import Envelope, pae, parse_bundle, render_bundle

ONE = Envelope(payload=b'{"a":1}', key_id="ab" * 32, signature=bytes(range(64)))
TWO = Envelope(payload=b"\x00\xff!", key_id="cd" * 32, signature=bytes(64))
LINE = render_bundle([ONE])


def refused(data):
    with pytest.raises(TamperedError) as caught:
        parse_bundle(data)
    return caught.value.problem


def changed(**changes):
    """The one envelope with other keys or values, spelled as canonically as JSON allows."""
    value = json.loads(LINE)
    value.update(changes)
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def test_a_bundle_comes_back_as_it_was():
    assert parse_bundle(render_bundle([ONE, TWO])) == (ONE, TWO)


def test_a_line_is_a_dsse_envelope_in_canonical_json():
    value = json.loads(LINE)
    assert value["payloadType"] == "application/vnd.in-toto+json"
    assert base64.b64decode(value["payload"]) == ONE.payload
    assert value["signatures"] == [{"keyid": ONE.key_id, "sig": base64.b64encode(ONE.signature).decode()}]
    assert changed() == LINE


def test_what_is_signed_is_dsses_encoding_of_type_and_payload():
    assert pae(b"hello") == b"DSSEv1 28 application/vnd.in-toto+json 5 hello"


def test_spare_bits_of_base64_are_refused():
    padded = base64.b64encode(ONE.payload).decode()
    assert padded.endswith(("Q==", "0="))
    other = padded[:-2] + chr(ord(padded[-2]) + 1) + "=" if padded.endswith("0=") else padded[:-3] + "R=="
    assert base64.b64decode(other) == ONE.payload
    assert "not canonical base64" in refused(changed(payload=other))
    signature = base64.b64encode(ONE.signature).decode()
    other = signature[:-3] + chr(ord(signature[-3]) + 1) + "=="
    assert base64.b64decode(other) == ONE.signature
    assert "not canonical base64" in refused(changed(signatures=[{"keyid": ONE.key_id, "sig": other}]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        LINE[:-1],
        LINE + b"\n",
        LINE + b" ",
        b"\xef\xbb\xbf" + LINE,
        LINE.replace(b"\n", b"\r\n"),
        LINE.replace(b'":"', b'": "', 1),
        LINE.replace(b'{"payload"', b'{"payload":"e30=","payload"'),
        LINE.replace(b"}\n", b',"more":1}\n'),
        LINE.replace(b"payloadType", b"payload\\u0054ype"),
        changed(payload=base64.urlsafe_b64encode(b"\xfb\xff\xfe").decode()),
        changed(payload=""),
        changed(payloadType="application/json"),
        changed(signatures=[]),
        changed(signatures=json.loads(LINE)["signatures"] * 2),
        changed(signatures=[{"keyid": ONE.key_id.upper(), "sig": "A" * 86 + "=="}]),
        changed(signatures=[{"sig": "A" * 86 + "=="}]),
        changed(signatures=[{"keyid": ONE.key_id, "sig": "A" * 84}]),
        b"\xff\xfe" * 50 + b"\n",
        b"[" * 100_000 + b"\n",
        b'{"payload":' + b"9" * 10_000 + b"}\n",
        b'{"payload":NaN}\n',
    ],
    ids=lambda data: repr(data[:40]),
)
def test_any_other_spelling_is_refused(data):
    refused(data)


def test_a_bundle_that_is_too_large_is_not_read(monkeypatch):
    monkeypatch.setattr("harness.signing.bundle.MAX_BUNDLE_BYTES", len(LINE) - 1)
    assert "at most" in refused(LINE)
