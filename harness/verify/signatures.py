"""Signatures: whose key signed the statements, and that it did."""

from __future__ import annotations

from pathlib import Path

from harness.documents.document import REMEDY
from harness.errors import TamperedError, UsageError
from harness.signing.bundle import parse_bundle
from harness.signing.known_keys import checkout_keys, known_name, own_keys, trusted_keys
from harness.signing.public_key import KEY_FILE, PublicKey, verify_bundle
from harness.verify.material import Material
from harness.verify.verification import Signer


def check_signatures(material: Material, root: Path | None) -> tuple[Signer, tuple[bytes, ...]]:
    """Who signed, and the statements.

    Args:
        material: with a bundle.
        root: the checkout, whose manifests/keys may name the key.

    Raises:
        TamperedError: a signature does not fit, or the key is none.
        UsageError: the key is neither beside the bundle nor known here.
    """
    bundle, beside = material.bundle(), material.key()
    if beside is not None:
        key = PublicKey.parse(beside)
    elif material.kind == "archive":
        raise TamperedError(f"{KEY_FILE} is missing: an archive has the public key that it is signed with", REMEDY)
    else:
        key_id = parse_bundle(bundle)[0].key_id
        known = next((k for k in (*trusted_keys(), *own_keys(), *checkout_keys(root)) if k.key.key_id == key_id), None)
        if known is None:
            problem = f"the public key {key_id} is neither beside the certificate nor known here"
            raise UsageError(problem, "put its key.json beside it, or keep it: harness key trust FILE --name NAME")
        key = known.key
    payloads = verify_bundle(bundle, key)
    return Signer(key_id=key.key_id, name=known_name(key, root)), payloads
