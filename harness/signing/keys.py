"""Private keys on this machine, and the names under which it knows public ones.

`$XDG_CONFIG_HOME/repro-harness/` (else `~/.config/repro-harness/`) holds `keys/<name>.pem`, PKCS #8 without a password
and readable by its owner alone, with its public half `<name>.json` beside it, and `trusted/<name>.json`. Where a secret
store hands out a file, as in CI, `HARNESS_KEY` names it. Private bytes are never printed, logged or put into an error.

Sources: https://specifications.freedesktop.org/basedir-spec/latest/, RFC 8410.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from harness.errors import HostError, UsageError
from harness.signing.bundle import Envelope, pae, render_bundle
from harness.signing.known_keys import NAME, check_name, config_folder, make_subfolder, write_new
from harness.signing.public_key import PublicKey, verify_bundle
from harness.system.safe_read import READ
from harness.system.store import disk_errors

KEY_VARIABLE = "HARNESS_KEY"
DEFAULT_NAME = "default"
_CREATE = "make one: harness key create NAME; or name a PEM file in HARNESS_KEY"
_MAX_PEM_BYTES = 16384


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """Something that can sign; `load_signer` makes one. The private key does not show in its representation."""

    key: PublicKey
    _private: Ed25519PrivateKey = field(repr=False)

    def sign(self, payloads: Iterable[bytes]) -> bytes:
        """A bundle of these statements, in this order; the same statements give the same bytes (ed25519 is
        deterministic). It is verified before it is returned.
        """
        envelopes = []
        for payload in payloads:
            signature = self._private.sign(pae(payload))
            envelopes.append(Envelope(payload=payload, key_id=self.key.key_id, signature=signature))
        bundle = render_bundle(envelopes)
        verify_bundle(bundle, self.key)
        return bundle


def create_key(name: str) -> PublicKey:
    """Make a key pair on this machine.

    Raises:
        UsageError: the name cannot be used, or there is such a key already.
        HostError: its folder cannot be written, or others can read it.
    """
    check_name(name)
    folder = _private_folder()
    private, public = folder / f"{name}.pem", folder / f"{name}.json"
    if private.exists() or public.exists():
        problem = f"there is a key {name} already ({private if private.exists() else public})"
        raise UsageError(problem, "choose another name; what an old key signed can only be verified with that key")
    secret = Ed25519PrivateKey.generate()
    key = _public_half(secret)
    with disk_errors("writing a key"), _undone(private, public):
        write_new(private, secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
        write_new(public, key.render(), 0o644)
    return key


def load_signer(which: str | None) -> Signing:
    """The key to sign with.

    Args:
        which: the name of a key of this machine or the path of a PEM file; None for `HARNESS_KEY`, else this machine's
            only key, else the one that is called `default`.

    Raises:
        UsageError: there is no such key, others can read it, or it is no unencrypted ed25519 key.
    """
    if which is None:
        which = os.environ.get(KEY_VARIABLE) or _default_name()
    path = _pem_of(which)
    private = _parse_private(_read_private(path), path)
    return Signing(key=_public_half(private), _private=private)


def _public_half(private: Ed25519PrivateKey) -> PublicKey:
    return PublicKey.from_hex(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex())


def _private_folder() -> Path:
    folder = make_subfolder("keys", 0o700)
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        raise HostError(f"others can enter {folder}, where private keys lie", f"run: chmod 700 {folder}")
    return folder


@contextlib.contextmanager
def _undone(*paths: Path) -> Iterator[None]:
    """Remove what was written if not everything could be: half a key pair would block its name."""
    before = [path for path in paths if path.exists()]
    try:
        yield
    except OSError:
        for path in paths:
            if path not in before:
                path.unlink(missing_ok=True)
        raise


def _default_name() -> str:
    names = sorted(path.stem for path in (config_folder() / "keys").glob("*.pem"))
    if len(names) == 1 or DEFAULT_NAME in names:
        return DEFAULT_NAME if DEFAULT_NAME in names else names[0]
    if not names:
        raise UsageError("there is no key to sign with", _CREATE)
    raise UsageError(f"which key? there are {', '.join(names)}", f"name one with --key, or call one {DEFAULT_NAME}")


def _pem_of(which: str) -> Path:
    """The PEM file of a name or path: whatever is no name is a path."""
    if "/" in which or which.endswith(".pem") or not NAME.fullmatch(which):
        return Path(which).expanduser()
    return config_folder() / "keys" / f"{which}.pem"


def _read_private(path: Path) -> bytes:
    """The bytes of a PEM file that only its owner can read."""
    try:
        with os.fdopen(os.open(path, READ), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"{path} is no file", _CREATE)
            if stat.S_IMODE(status.st_mode) & 0o077:
                problem = f"others can read the private key {path} (mode {stat.S_IMODE(status.st_mode):04o})"
                raise UsageError(problem, f"run: chmod 600 {path}; if somebody may have read it, make a new key")
            return stream.read(_MAX_PEM_BYTES + 1)
    except FileNotFoundError as error:
        raise UsageError(f"there is no private key {path}", _CREATE) from error
    except OSError as error:
        raise UsageError(f"the private key {path} cannot be read: {error.strerror}", _CREATE) from error


def _parse_private(data: bytes, path: Path) -> Ed25519PrivateKey:
    """The key in a PEM file; errors name the file and never quote from it."""
    remedy = "give an unencrypted PKCS #8 PEM file with an ed25519 key, such as `harness key create` makes"
    problem = f"{path} is no PEM file with a private key"
    try:
        private = load_pem_private_key(data, None) if len(data) <= _MAX_PEM_BYTES else None
    except TypeError:  # how cryptography says that a password is missing
        problem = f"the private key {path} is encrypted"
        private = None
    except (ValueError, UnsupportedAlgorithm):
        private = None
    if private is None:
        raise UsageError(problem, remedy)
    if not isinstance(private, Ed25519PrivateKey):
        kind = type(private).__name__.removesuffix("PrivateKey").strip("_")
        raise UsageError(f"{path} holds a key of another kind ({kind}), only ed25519 signs here", remedy)
    return private
