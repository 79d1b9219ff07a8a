"""Public keys that this machine has names for: its own, those that somebody here trusts, those of a checkout."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError, TamperedError, UsageError
from harness.signing.key_folder import NAME, check_name, config_folder, make_subfolder, write_new
from harness.signing.public_key import MAX_KEY_BYTES, PublicKey
from harness.system.store import disk_errors

CHECKOUT_KEYS = Path("manifests") / "keys"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A public key that this machine has a name for.

    Attributes:
        name: its name.
        source: `own` (its private half is or was made here), `trusted` (somebody here ran `harness key trust`) or
            `checkout` (manifests/keys of the checkout says so: believe it as far as you believe the checkout).
        key: the key.
    """

    name: str
    source: str
    key: PublicKey

    def __str__(self) -> str:
        """The name, and who says so unless it was decided on this machine."""
        return f"{self.name} (so says manifests/keys of this checkout)" if self.source == "checkout" else self.name


def own_keys() -> tuple[Known, ...]:
    """The public halves of this machine's own keys, sorted by name."""
    return _known_in(config_folder() / "keys", "own")


def trusted_keys() -> tuple[Known, ...]:
    """The keys of others that somebody here decided to trust, sorted by name."""
    return _known_in(config_folder() / "trusted", "trusted")


def checkout_keys(root: Path | None) -> tuple[Known, ...]:
    """The keys that the checkout at `root` names, sorted by name; none without a checkout."""
    return () if root is None else _known_in(root / CHECKOUT_KEYS, "checkout")


def known_as(key: PublicKey, root: Path | None) -> Known | None:
    """Under which name this machine, else the checkout at `root`, knows a key; None for a key that nobody named."""
    for known in (*trusted_keys(), *own_keys(), *checkout_keys(root)):
        if known.key == key:
            return known
    return None


def known_name(key: PublicKey, root: Path | None) -> str | None:
    """`known_as` in words: the name, and that only the checkout says so where that is all there is."""
    known = known_as(key, root)
    return None if known is None else str(known)


def find_known(name: str, root: Path | None) -> Known:
    """The key with a name: this machine's own, a trusted one, or one of the checkout.

    Raises:
        UsageError: there is none.
    """
    found = [known for known in (*own_keys(), *trusted_keys(), *checkout_keys(root)) if known.name == name]
    if not found:
        raise UsageError(f"no key is called {name[:80]!r}", "harness key list shows those that are known")
    return found[0]


def trust_key(path: Path, name: str) -> PublicKey:
    """Keep a public key (`key.json`) of somebody else under a name.

    Raises:
        UsageError: there is no such file, the name cannot be used or stands for another key.
        TamperedError: the file is no public key.
        HostError: the folder cannot be written.
    """
    check_name(name)
    key = read_public(path)
    for known in (*trusted_keys(), *own_keys()):
        if known.key == key and known.name == name:
            return key
        if known.key == key:
            raise UsageError(f"this key is known already: it is {known.name} ({known.source})", "use that name")
        if known.name == name:
            raise UsageError(f"{name} is another key, {known.key.key_id}", "choose another name for this one")
    target = make_subfolder("trusted", 0o755) / f"{name}.json"
    with disk_errors("keeping a public key"):
        write_new(target, key.render(), 0o644)
    return key


def read_public(path: Path) -> PublicKey:
    """A public key file.

    Raises:
        UsageError: it cannot be read.
        TamperedError: it is no public key.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise UsageError(f"{path} is no file", "name a key.json, as `harness key show` prints it")
            return PublicKey.parse(stream.read(MAX_KEY_BYTES + 1))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "name a key.json, as `harness key show` prints it") from error
    except TamperedError as error:
        raise TamperedError(f"{path}: {error.problem}", error.remedy) from error


def _known_in(folder: Path, source: str) -> tuple[Known, ...]:
    """The public keys in a folder; a file that is none is not a key, and is not believed."""
    found = []
    for path in sorted(folder.glob("*.json")):
        with contextlib.suppress(HarnessError):
            if NAME.fullmatch(path.stem):
                found.append(Known(name=path.stem, source=source, key=read_public(path)))
    return tuple(found)
