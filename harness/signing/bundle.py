"""A bundle of signed statements: JSON lines, each a DSSE envelope with exactly one ed25519 signature.

DSSE and JSON leave room: base64 has spare bits, objects can be spaced, reordered, repeated and extended, and several
signatures may stand beside each other. Here each envelope has one spelling, that of RFC 8785, and anything else is
refused, so no byte of a bundle can change unnoticed. Any DSSE or in-toto verifier reads these bundles.

Sources: https://github.com/secure-systems-lab/dsse/blob/master/envelope.md and protocol.md,
https://github.com/in-toto/attestation/blob/main/spec/v1/bundle.md, RFC 8785, RFC 4648 section 3.5.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import rfc8785

from harness.errors import TamperedError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_BUNDLE_BYTES = 128 << 20
SIGNATURE_BYTES = 64
REMEDY = "get the bundle again from where it was published; `harness verify` takes what `harness archive` signed"

# The one spelling. No JSON parser is involved: nothing nested, repeated, escaped or very long can confuse it.
_ENVELOPE = re.compile(
    rb'\{"payload":"([A-Za-z0-9+/]+={0,2})",'
    rb'"payloadType":"application/vnd\.in-toto\+json",'
    rb'"signatures":\[\{"keyid":"([0-9a-f]{64})","sig":"([A-Za-z0-9+/]{86}==)"\}\]\}'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A signed payload.

    Attributes:
        payload: the statement's bytes, as they were signed.
        key_id: 64 hex digits; which key is said to have signed. It is a hint: only verifying shows that it did.
        signature: the 64 bytes of an ed25519 signature over `pae(payload)`.
    """

    payload: bytes
    key_id: str
    signature: bytes


def pae(payload: bytes) -> bytes:
    """The bytes that are signed for a payload: DSSE's pre-authentication encoding, with its type."""
    return b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode("ascii"), len(payload), payload)


def render_bundle(envelopes: Iterable[Envelope]) -> bytes:
    """The bundle's bytes: one envelope a line, each line ended."""
    return b"".join(_render(envelope) + b"\n" for envelope in envelopes)


def parse_bundle(data: bytes) -> tuple[Envelope, ...]:
    """Read a bundle; `render_bundle` of the result gives the same bytes. No signature is verified here.

    Raises:
        TamperedError: there is no envelope in it, or a byte is not what `render_bundle` would have written.
    """
    if len(data) > MAX_BUNDLE_BYTES:
        raise TamperedError(f"the bundle has {len(data)} bytes, at most {MAX_BUNDLE_BYTES} are read", REMEDY)
    lines = bytes(data).split(b"\n")
    if lines.pop() or not lines:
        raise TamperedError("the bundle is empty or its last line is cut off", REMEDY)
    return tuple(_parse(number, line) for number, line in enumerate(lines, 1))


def _render(envelope: Envelope) -> bytes:
    """One envelope as RFC 8785 spells it."""
    signature = {"keyid": envelope.key_id, "sig": _base64(envelope.signature)}
    value: dict[str, Any] = {
        "payload": _base64(envelope.payload),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [signature],
    }
    return rfc8785.dumps(value)


def _parse(number: int, line: bytes) -> Envelope:
    found = _ENVELOPE.fullmatch(line)
    if found is None:
        problem = f"line {number} of the bundle is no DSSE envelope in canonical form with one ed25519 signature"
        raise TamperedError(problem, REMEDY)
    payload, key_id, signature = found.groups()
    return Envelope(
        payload=_decoded(payload, f"the payload on line {number}"),
        key_id=key_id.decode("ascii"),
        signature=_decoded(signature, f"the signature on line {number}"),
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decoded(text: bytes, what: str) -> bytes:
    """The bytes of base64 that has no spare bit set; Python's decoder ignores those bits, so it is encoded again."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    if base64.b64encode(data) != text:
        raise TamperedError(f"{what} is not canonical base64", REMEDY)
    return data
