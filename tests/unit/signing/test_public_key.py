import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from harness.errors import TamperedError
from harness.signing.bundle import Envelope, pae, parse_bundle, render_bundle
from harness.signing.public_key import PublicKey, verify_bundle, verify_envelope

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = PublicKey.from_hex(PRIVATE.public_key().public_bytes_raw().hex())
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
ORDER = 2**252 + 27742317777372353535851937790883648493
PRIME = 2**255 - 19


def signed(*payloads, key=KEY, private=PRIVATE):
    return render_bundle(Envelope(payload=p, key_id=key.key_id, signature=private.sign(pae(p))) for p in payloads)


BUNDLE = signed(b'{"statement":1}', b'{"statement":2}', b'{"statement":3}')


def is_refused(function, *arguments):
    try:
        function(*arguments)
    except TamperedError:
        return True
    return False


def test_a_signed_bundle_gives_its_payloads_in_order():
    assert verify_bundle(BUNDLE, KEY) == (b'{"statement":1}', b'{"statement":2}', b'{"statement":3}')


def test_every_byte_of_a_bundle_counts():
    for place, byte in enumerate(BUNDLE):
        changed = BUNDLE[:place] + bytes([byte ^ 1]) + BUNDLE[place + 1 :]
        assert is_refused(verify_bundle, changed, KEY), f"byte {place}, {chr(byte)!r}"


@pytest.mark.parametrize("place", [*range(0, 60, 7), *range(200, len(BUNDLE) // 3, 29), len(BUNDLE) - 1])
def test_no_other_value_of_a_byte_is_taken(place):
    others = [value for value in range(256) if value != BUNDLE[place]]
    accepted = [
        v for v in others if not is_refused(verify_bundle, BUNDLE[:place] + bytes([v]) + BUNDLE[place + 1 :], KEY)
    ]
    assert accepted == []


def test_no_bundle_that_is_cut_off_within_a_line_is_taken():
    ends = {place + 1 for place, byte in enumerate(BUNDLE) if byte == 10}
    accepted = [n for n in range(len(BUNDLE)) if not is_refused(verify_bundle, BUNDLE[:n], KEY)]
    assert set(accepted) <= ends


def test_another_keys_signature_is_refused():
    other = PublicKey.from_hex(OTHER.public_key().public_bytes_raw().hex())
    with pytest.raises(TamperedError, match=f"signed by key {other.key_id}"):
        verify_bundle(signed(b"{}", key=other, private=OTHER), KEY)
    with pytest.raises(TamperedError, match="does not fit"):
        verify_bundle(signed(b"{}", private=OTHER), KEY)


def test_a_signature_moved_to_another_statement_is_refused():
    one, two, _ = parse_bundle(BUNDLE)
    moved = Envelope(payload=two.payload, key_id=one.key_id, signature=one.signature)
    assert is_refused(verify_envelope, moved, KEY)


def test_the_second_spelling_of_a_signature_is_refused():
    one = parse_bundle(BUNDLE)[0]
    scalar = int.from_bytes(one.signature[32:], "little") + ORDER
    second = Envelope(
        payload=one.payload, key_id=one.key_id, signature=one.signature[:32] + scalar.to_bytes(32, "little")
    )
    with pytest.raises(TamperedError, match="canonical"):
        verify_envelope(second, KEY)


def test_key_json_comes_back_as_it_was():
    assert PublicKey.parse(KEY.render()) == KEY


def test_the_key_id_is_the_sha256_of_the_canonical_key():
    text = f'{{"keytype":"ed25519","keyval":{{"public":"{KEY.hex}"}},"scheme":"ed25519"}}'
    assert KEY.key_id == hashlib.sha256(text.encode()).hexdigest()


def test_every_byte_of_key_json_counts():
    text = KEY.render()
    for place, byte in enumerate(text):
        for value in range(256):
            changed = text[:place] + bytes([value]) + text[place + 1 :]
            assert value == byte or is_refused(PublicKey.parse, changed), f"byte {place}: {chr(value)!r}"


@pytest.mark.parametrize("data", [b"", b"{}", KEY.render() * 2, KEY.render()[:-1], b" " * 10_000, b"[" * 5000])
def test_what_is_no_key_json_is_refused(data):
    assert is_refused(PublicKey.parse, data)


@pytest.mark.parametrize("digits", ["", "ab", "AB" * 32, "ab" * 33, "ab" * 32 + "\n"])
def test_a_key_has_64_lower_case_hex_digits(digits):
    assert is_refused(PublicKey.from_hex, digits)


def small_order_points():
    """The eight points of small order and their other spellings, found by solving for y, not by the tested formula."""
    d = -121665 * pow(121666, -1, PRIME) % PRIME
    root = pow(1 + d, (PRIME + 3) // 8, PRIME)
    if (root * root - 1 - d) % PRIME:
        root = root * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    ys = {0, 1, PRIME - 1}
    for sign in (1, -1):
        square = (-1 + sign * root) * pow(d, -1, PRIME) % PRIME
        y = pow(square, (PRIME + 3) // 8, PRIME)
        for candidate in (y, y * pow(2, (PRIME - 1) // 4, PRIME) % PRIME):
            if (candidate * candidate - square) % PRIME == 0:
                ys |= {candidate, PRIME - candidate}
    return [
        ((y + extra) | (sign << 255)).to_bytes(32, "little")
        for y in sorted(ys)
        for extra in (0, PRIME)
        for sign in (0, 1)
        if y + extra < 2**255
    ]


def test_keys_whose_signatures_fit_any_message_are_refused():
    points = small_order_points()
    assert len({int.from_bytes(p, "little") % 2**255 % PRIME for p in points}) == 5
    assert all(is_refused(PublicKey.from_hex, point.hex()) for point in points)


def test_such_a_key_does_fit_any_message_where_nobody_looks():
    identity = (1).to_bytes(32, "little")
    Ed25519PublicKey.from_public_bytes(identity).verify(identity + bytes(32), b"whatever")
