"""Public keys: ed25519 only, written in one way, and what it takes that a signature is theirs.

The key id is the sha256 of the key's canonical JSON, as securesystemslib, TUF and in-toto compute it. It is never
believed but computed again.

Sources: RFC 8032 (5.1.3 decoding, 5.1.7 verification), https://github.com/secure-systems-lab/securesystemslib,
"Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko, 2020) on keys and signatures that verifiers disagree about.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from harness.errors import TamperedError
from harness.signing.bundle import SIGNATURE_BYTES, Envelope, pae, parse_bundle

KEY_FILE = "key.json"
MAX_KEY_BYTES = 4096
_REMEDY = "get the public key again from whoever signed: `harness key show` prints it there"
_RESIGN = "get the bundle and its key again from where they were published, and compare the key ids"

_KEY = re.compile(
    rb'\{"keyid":"([0-9a-f]{64})","keytype":"ed25519","keyval":\{"public":"([0-9a-f]{64})"\},"scheme":"ed25519"\}\n'
)
_PRIME = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_CURVE_D = -121665 * pow(121666, -1, _PRIME) % _PRIME


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """An ed25519 public key.

    Attributes:
        key_id: 64 hex digits, computed from the key.
        hex: the key's 32 bytes as 64 lower-case hex digits.
    """

    key_id: str
    hex: str

    @classmethod
    def from_hex(cls, digits: str) -> PublicKey:
        """The key with its id.

        Raises:
            TamperedError: these are not 32 bytes, not a number below the field's prime, or a point of small order,
                whose signatures fit any message.
        """
        if not re.fullmatch(r"[0-9a-f]{64}", digits):
            raise TamperedError("an ed25519 public key has 64 lower-case hex digits", _REMEDY)
        if _is_weak(bytes.fromhex(digits)):
            raise TamperedError(f"{digits} is no ed25519 key that could sign: its signatures fit any message", _REMEDY)
        return cls(key_id=hashlib.sha256(rfc8785.dumps(_fields(digits))).hexdigest(), hex=digits)

    @classmethod
    def parse(cls, data: bytes) -> PublicKey:
        """Read `key.json`; `render` gives the same bytes.

        Raises:
            TamperedError: a byte is not what `render` would have written, or the key id is not this key's.
        """
        found = _KEY.fullmatch(data) if len(data) <= MAX_KEY_BYTES else None
        if found is None:
            raise TamperedError("this is no ed25519 public key as `harness key show` prints it", _REMEDY)
        key = cls.from_hex(found.group(2).decode("ascii"))
        if key.key_id != found.group(1).decode("ascii"):
            raise TamperedError("the key id is not that of the public key beside it", _REMEDY)
        return key

    def render(self) -> bytes:
        """The text of `key.json`: securesystemslib's own form with the key id, canonical (RFC 8785), one line."""
        return rfc8785.dumps({"keyid": self.key_id, **_fields(self.hex)}) + b"\n"


def verify_envelope(envelope: Envelope, key: PublicKey) -> bytes:
    """The payload, if this key signed it.

    Raises:
        TamperedError: another key signed, or payload or signature are not what they were.
    """
    if envelope.key_id != key.key_id:
        problem = f"the bundle is signed by key {envelope.key_id}, not by {key.key_id}"
        raise TamperedError(problem, _RESIGN)
    # RFC 8032 demands S < L; a verifier that does not look would take a second spelling of the same signature.
    scalar = int.from_bytes(envelope.signature[32:], "little")
    if len(envelope.signature) != SIGNATURE_BYTES or scalar >= _ORDER:
        raise TamperedError(f"a signature of key {key.key_id} is not in its canonical form", _RESIGN)
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.hex)).verify(envelope.signature, pae(envelope.payload))
    except InvalidSignature as error:
        raise TamperedError(f"a signature of key {key.key_id} does not fit what it signs", _RESIGN) from error
    return envelope.payload


def verify_bundle(bundle: bytes, key: PublicKey) -> tuple[bytes, ...]:
    """The payloads of a bundle, in its order, every one signed by this key.

    Raises:
        TamperedError: a byte of the bundle is not what was signed, or another key signed it.
    """
    return tuple(verify_envelope(envelope, key) for envelope in parse_bundle(bundle))


def _fields(digits: str) -> dict[str, Any]:
    """The key as TUF and in-toto write it, without its id."""
    return {"keytype": "ed25519", "keyval": {"public": digits}, "scheme": "ed25519"}


def _is_weak(encoded: bytes) -> bool:
    """Whether 32 bytes are no canonical point, or one of the eight whose order divides 8.

    On -x^2 + y^2 = 1 + d x^2 y^2 those eight have y = 1 (order 1), y = -1 (order 2), y = 0 (order 4), and for order 8,
    where doubling gives y = 0, x^2 = -y^2, so d y^4 + 2 y^2 - 1 = 0.
    """
    y = int.from_bytes(encoded, "little") & ((1 << 255) - 1)
    if y >= _PRIME:
        return True
    square = y * y % _PRIME
    return y in (0, 1, _PRIME - 1) or (_CURVE_D * square * square + 2 * square - 1) % _PRIME == 0
